"""The study's efficiency by our own statistics: ratios within runs of the same prompts, without leaving out any run.

Run k of every width used the same prompts, so ratios are taken within k. A published mean is a single value: a ratio, no interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from base.records import Record
from reports.published.study import Run, Study
from reports.statistics.correlation import Correlation, correlate
from reports.statistics.ratios import MARGIN, Comparison, Direction, Verdict, compare, verdict_of

Quantity = Callable[[Run], float | None]

TOKEN_MS, LATENCY, LENGTH = "ms_per_token", "latency_ms", "new_tokens_per_prompt"
NET, GROSS, REQUEST = "net_joules_per_token", "gross_joules_per_token", "net_joules_per_prompt"
# The unit of the claimed energy cancels in a ratio.
QUANTITIES: dict[str, tuple[Quantity, Direction]] = {
    NET: (lambda r: r.joules_per_token, "lower"),
    GROSS: (lambda r: r.raw_claimed_kwh / r.new_tokens if r.raw_claimed_kwh else None, "lower"),
    REQUEST: (lambda r: r.joules_per_token * r.tokens_per_prompt, "lower"),
    TOKEN_MS: (lambda r: 1e3 / r.tokens_per_s, "lower"),
    LATENCY: (lambda r: r.latency_ms, "lower"),
    LENGTH: (lambda r: r.tokens_per_prompt, "lower"),
}


class Cell(Record):
    """One width under one workload. `published` are means over the runs that the authors kept; `ratios` are of all runs to the unpruned width.

    `published_change` of J/token follows the study's method; `change_of_all` is the same without leaving out any run.
    `unpruned_kept`: the runs of the unpruned width that the authors kept.
    """

    model: str
    workload: str
    batch_size: int
    width: int
    runs: int
    runs_kept: int
    unpruned_kept: int
    published: dict[str, float]
    published_change: float
    change_of_all: float | None
    ratios: dict[str, Comparison]

    @property
    def place(self) -> str:
        """Model, width and workload in words."""
        return f"{self.model} at width {self.width}, {self.workload}"

    @property
    def kept_in_words(self) -> str:
        """The runs in the published mean, and those of the unpruned width if they are fewer."""
        kept = f"{self.runs_kept} of {self.runs}"
        return kept if self.unpruned_kept == self.runs_kept else f"{kept}, unpruned {self.unpruned_kept}"


class Lengthening(Record):
    """Single-request latency against output length: the logarithms of their ratios to the unpruned width, cell by cell."""

    cells: int
    slower_in_latency: int  # verdict "worse" with runs, by more than the margin without
    slower_per_token: int  # likewise
    slower_by_means: int  # requests, by more than the margin, whatever the interval
    correlation: Correlation
    largest: Cell | None


def cells_of(study: Study, *, margin: float = MARGIN) -> list[Cell]:
    """Every pruned width under every workload."""
    return [
        _cell(key, width, runs, next(iter(widths.values())), margin)
        for key, widths in study.cells().items()
        for width, runs in list(widths.items())[1:]
    ]


def _cell(key: tuple[str, str], width: int, runs: list[Run], baseline: list[Run], margin: float) -> Cell:
    kept, kept_baseline = _kept(runs), _kept(baseline)
    published = {name: _mean(kept, of) for name, (of, _) in QUANTITIES.items()}
    raw = runs[0].run > 0
    return Cell(
        model=key[0],
        workload=key[1],
        batch_size=runs[0].batch_size,
        width=width,
        runs=len(runs) if raw else runs[0].runs_made,
        runs_kept=len(kept) if raw else runs[0].runs_kept,
        unpruned_kept=len(kept_baseline) if raw else baseline[0].runs_kept,
        published={name: value for name, value in published.items() if value is not None},
        published_change=mean_joules(kept) / mean_joules(kept_baseline) - 1,
        change_of_all=mean_joules(runs) / mean_joules(baseline) - 1 if raw else None,
        ratios={
            name: compare(_by_run(runs, of), _by_run(baseline, of), better, margin=margin)
            for name, (of, better) in QUANTITIES.items()
        },
    )


def lengthening(cells: Sequence[Cell], margin: float = MARGIN) -> Lengthening:
    """Whether single requests took longer because they generated more tokens, or because a token took longer."""
    single = [c for c in cells if c.batch_size == 1 and c.ratios[LATENCY].ratio is not None]
    logs = {key: [math.log(c.ratios[key].ratio or 1.0) for c in single] for key in (LATENCY, LENGTH)}
    return Lengthening(
        cells=len(single),
        slower_in_latency=sum(lower_is_better(c.ratios[LATENCY], margin) == "worse" for c in single),
        slower_per_token=sum(lower_is_better(c.ratios[TOKEN_MS], margin) == "worse" for c in single),
        slower_by_means=sum((c.ratios[LATENCY].ratio or 0) > 1 + margin for c in single),
        correlation=correlate(logs[LENGTH], logs[LATENCY]),
        largest=max(single, key=lambda c: c.ratios[LATENCY].ratio or 0, default=None),
    )


def lower_is_better(found: Comparison, margin: float) -> Verdict | None:
    """The verdict; without an interval, the side of the margin on which the ratio lies, but never "equivalent"."""
    if found.verdict or found.ratio is None:
        return found.verdict
    alone = verdict_of(found.ratio, found.ratio, "lower", margin=margin)
    return "undecided" if alone == "equivalent" else alone


def _kept(runs: Sequence[Run]) -> list[Run]:
    """The runs in the published mean; all runs where none is."""
    return [r for r in runs if r.kept] or list(runs)


def _by_run(runs: Sequence[Run], of: Quantity) -> dict[int, float]:
    return {r.run: value for r in runs if (value := of(r)) is not None}


def _mean(runs: Sequence[Run], of: Quantity) -> float | None:
    values = [value for r in runs if (value := of(r)) is not None]
    return float(np.mean(values)) if values else None


def mean_joules(runs: Sequence[Run]) -> float:
    """J/token, the mean over runs."""
    return float(np.mean([r.joules_per_token for r in runs]))
