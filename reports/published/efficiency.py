"""The study's efficiency by our own statistics: ratios within runs of the same prompts, without leaving out any run.

Run k of every width used the same prompts, so ratios are taken within k. A published mean is a single value: a ratio, no interval.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from base.records import Record
from reports.published.study import Run, Study
from reports.statistics.correlation import Correlation, correlate
from reports.statistics.ratios import (
    MARGIN,
    Comparison,
    Direction,
    Interval,
    Verdict,
    compare,
    mean_interval,
    verdict_of,
)

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
    """One width under one workload. `published` are means over the runs that the authors kept; `ratios` are to the unpruned width.

    `published_change` of J/token follows the study's method; `change_of_all` is the same without leaving out any run.
    """

    model: str
    workload: str
    batch_size: int
    width: int
    runs: int
    runs_kept: int
    published: dict[str, float]
    published_change: float
    change_of_all: float | None
    ratios: dict[str, Comparison]

    @property
    def place(self) -> str:
        """Model, width and workload in words."""
        return f"{self.model} at width {self.width}, {self.workload}"


class Lengthening(Record):
    """Single-request latency against output length: the logarithms of their ratios to the unpruned width, cell by cell."""

    cells: int
    slower_in_latency: int  # by more than the margin
    slower_per_token: int  # verdict "worse" with runs, by more than the margin without
    correlation: Correlation
    largest: Cell | None


class OddPair(Record):
    """An odd width over its wider even neighbour, under one workload; the narrower, odd width is expected below 1."""

    model: str
    workload: str
    batch_size: int
    odd: int
    even: int
    joules: float
    ms_per_token: float
    joules_between: float | None  # over the straight line between both even neighbours
    ms_between: float | None


class Alignment(Record):
    """Odd widths at one batch size, all or one of them: geometric means of the pairs' ratios with 95 % t intervals."""

    batch_size: int
    odd: int | None
    pairs: int
    hungrier: int
    slower: int
    hungrier_than_between: int
    slower_than_between: int
    pairs_between: int
    joules: Interval
    ms_per_token: Interval
    joules_between: Interval | None
    ms_between: Interval | None
    even_joules: Interval | None  # the control: an even width against its wider even neighbour


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
        published={name: value for name, value in published.items() if value is not None},
        published_change=_mean_joules(kept) / _mean_joules(kept_baseline) - 1,
        change_of_all=_mean_joules(runs) / _mean_joules(baseline) - 1 if raw else None,
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
        slower_in_latency=sum((c.ratios[LATENCY].ratio or 0) > 1 + margin for c in single),
        slower_per_token=sum(lower_is_better(c.ratios[TOKEN_MS], margin) == "worse" for c in single),
        correlation=correlate(logs[LENGTH], logs[LATENCY]),
        largest=max(single, key=lambda c: c.ratios[LATENCY].ratio or 0, default=None),
    )


def lower_is_better(found: Comparison, margin: float) -> Verdict | None:
    """The verdict; without an interval, the side of the margin on which the ratio lies, but never "equivalent"."""
    if found.verdict or found.ratio is None:
        return found.verdict
    alone = verdict_of(found.ratio, found.ratio, "lower", margin=margin)
    return "undecided" if alone == "equivalent" else alone


def odd_pairs(study: Study) -> list[OddPair]:
    """Every odd width whose next wider width is even, over all runs."""
    pairs = []
    for (model, workload), widths in study.cells().items():
        order = list(widths)
        for i, odd in enumerate(order):
            if odd % 2 == 0 or i == 0 or order[i - 1] % 2:
                continue
            even, below = order[i - 1], order[i + 1] if i + 1 < len(order) else None
            between = [_between(widths, odd, even, below, of) for of in (_joules, _token_ms)]
            pairs.append(
                OddPair(
                    model=model,
                    workload=workload,
                    batch_size=widths[odd][0].batch_size,
                    odd=odd,
                    even=even,
                    joules=_mean_joules(widths[odd]) / _mean_joules(widths[even]),
                    ms_per_token=_geometric(widths[odd], _token_ms) / _geometric(widths[even], _token_ms),
                    joules_between=between[0],
                    ms_between=between[1],
                )
            )
    return pairs


def alignment(study: Study) -> list[Alignment]:
    """Odd widths by batch size, all together and each alone; empty where no width is odd."""
    pairs, controls = odd_pairs(study), _even_steps(study)
    groups: dict[tuple[int, int | None], list[OddPair]] = {}
    for pair in pairs:
        groups.setdefault((pair.batch_size, None), []).append(pair)
    for pair in pairs:
        groups.setdefault((pair.batch_size, pair.odd), []).append(pair)
    return [_alignment(own, odd, controls.get(size, [])) for (size, odd), own in groups.items()]


def _alignment(own: Sequence[OddPair], odd: int | None, controls: Sequence[float]) -> Alignment:
    joules_between = [p.joules_between for p in own if p.joules_between]
    ms_between = [p.ms_between for p in own if p.ms_between]
    return Alignment(
        batch_size=own[0].batch_size,
        odd=odd,
        pairs=len(own),
        hungrier=sum(p.joules > 1 for p in own),
        slower=sum(p.ms_per_token > 1 for p in own),
        hungrier_than_between=sum(j > 1 for j in joules_between),
        slower_than_between=sum(m > 1 for m in ms_between),
        pairs_between=len(joules_between),
        joules=_ratios([p.joules for p in own]),
        ms_per_token=_ratios([p.ms_per_token for p in own]),
        joules_between=_ratios(joules_between) if joules_between else None,
        ms_between=_ratios(ms_between) if ms_between else None,
        even_joules=_ratios(controls) if controls else None,
    )


def _even_steps(study: Study) -> dict[int, list[float]]:
    """By batch size: J/token of an even width over that of the next wider, even width."""
    steps: dict[int, list[float]] = {}
    for widths in study.cells().values():
        order = list(widths)
        for wider, narrower in itertools.pairwise(order):
            if wider % 2 == 0 and narrower % 2 == 0:
                ratio = _mean_joules(widths[narrower]) / _mean_joules(widths[wider])
                steps.setdefault(widths[wider][0].batch_size, []).append(ratio)
    return steps


def _between(widths: dict[int, list[Run]], odd: int, even: int, below: int | None, of: Quantity) -> float | None:
    """A quantity over the straight line between both even neighbours at this width; None without both."""
    if below is None or below % 2:
        return None
    share = (odd - below) / (even - below)
    line = share * _geometric(widths[even], of) + (1 - share) * _geometric(widths[below], of)
    return _geometric(widths[odd], of) / line


def _ratios(values: Sequence[float]) -> Interval:
    """Geometric mean with its interval."""
    found = mean_interval([math.log(v) for v in values])
    ends = {end: math.exp(value) for end in ("low", "high") if (value := getattr(found, end)) is not None}
    return Interval(mean=math.exp(found.mean), low=ends.get("low"), high=ends.get("high"), n=found.n)


def _kept(runs: Sequence[Run]) -> list[Run]:
    """The runs in the published mean; all runs where none is."""
    return [r for r in runs if r.kept] or list(runs)


def _by_run(runs: Sequence[Run], of: Quantity) -> dict[int, float]:
    return {r.run: value for r in runs if (value := of(r)) is not None}


def _mean(runs: Sequence[Run], of: Quantity) -> float | None:
    values = [value for r in runs if (value := of(r)) is not None]
    return float(np.mean(values)) if values else None


def _joules(run: Run) -> float:
    return run.joules_per_token


def _token_ms(run: Run) -> float:
    return 1e3 / run.tokens_per_s


def _mean_joules(runs: Sequence[Run]) -> float:
    return float(np.mean([r.joules_per_token for r in runs]))


def _geometric(runs: Sequence[Run], of: Quantity) -> float:
    return math.exp(float(np.mean([math.log(of(r) or 1.0) for r in runs])))
