"""Odd widths of the study against their even neighbours, over all runs: whether they are slower and take more energy.

The control is an even width against its wider even neighbour.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from base.records import Record
from reports.published.efficiency import Quantity, mean_joules
from reports.published.study import Run, Study
from reports.statistics.ratios import Interval, mean_interval


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
                    joules=mean_joules(widths[odd]) / mean_joules(widths[even]),
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
                ratio = mean_joules(widths[narrower]) / mean_joules(widths[wider])
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


def _joules(run: Run) -> float:
    return run.joules_per_token


def _token_ms(run: Run) -> float:
    return 1e3 / run.tokens_per_s


def _geometric(runs: Sequence[Run], of: Quantity) -> float:
    return math.exp(float(np.mean([math.log(of(r) or 1.0) for r in runs])))
