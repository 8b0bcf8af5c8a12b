"""The interval on a ratio to the baseline, from which every verdict of the report comes.

Trials are paired within blocks, so effects that a block shares (temperature, neighbours on the machine) cancel in the ratio. The
interval is Student's t on the logarithms of the ratios; outliers stay in.

Why t on logarithms and no bootstrap: a ratio and its inverse must give the same verdict, which only logarithms ensure. With the three
to ten blocks of a run, resampling gives intervals that are too short: at five blocks a percentile bootstrap covers the truth in about
84 of 100 runs, t in 95 (tests/reports/statistics/test_ratios.py).

`reports.statistics.unpaired` compares trials that share no blocks, such as those of two runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from base.distributions import t_quantile
from base.records import Record
from reports.statistics.confidence import CONFIDENCE
from reports.statistics.sequential import error_at

MARGIN = 0.01  # smaller differences are not worth a verdict
Verdict = Literal["better", "worse", "equivalent", "undecided"]
Direction = Literal["higher", "lower", "neither"]  # which is better; neither: of a length, whose ratio has no verdict


class Interval(Record):
    """A mean of n values with its t interval; one value has no interval."""

    mean: float
    low: float | None
    high: float | None
    n: int


class Comparison(Record):
    """A ratio to the baseline: geometric mean over blocks, 95 % interval, and verdict.

    `ratios` has the ratio of every block with both sides. An interval and a verdict need two of them. The verdict is "better"
    or "worse" if the whole interval is beyond `margin`, above 1 + margin or below 1 / (1 + margin); "equivalent" if the whole
    interval is within it; otherwise "undecided".

    `smallest_effect`, above 1, is the ratio from which an interval of this width is entirely beyond the margin: (1 + margin) *
    exp(h) with the half-width h of the logarithm. A measured ratio above it, or below its inverse, would have been called better
    or worse.
    """

    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: Verdict | None = None
    margin: float | None = None  # at which the verdict was judged
    smallest_effect: float | None = None  # a ratio above 1; None without an interval
    ratios: dict[int, float] = {}
    reason: str | None = None  # why there is no ratio, or no verdict

    @property
    def distance(self) -> float:
        """Distance from the baseline as a factor, 1 or more; 1 without a ratio."""
        ratio = self.ratio or 1.0
        return max(ratio, 1 / ratio)


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Mean and t interval. Raises ValueError without values."""
    if not values:
        raise ValueError("no values")
    mean, n = math.fsum(values) / len(values), len(values)
    if n == 1:
        return Interval(mean=mean, low=None, high=None, n=1)
    half = t_quantile((1 + confidence) / 2, n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Interval(mean=mean, low=mean - half, high=mean + half, n=n)


def geometric_mean(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval | None:
    """Geometric mean with the t interval of the logarithms; None without values, or if one is not positive."""
    if not values or min(values) <= 0:
        return None
    found = mean_interval([math.log(value) for value in values], confidence)
    low, high = (None if end is None else math.exp(end) for end in (found.low, found.high))
    return Interval(mean=math.exp(found.mean), low=low, high=high, n=found.n)


def compare(
    values: Mapping[int, float],
    baseline: Mapping[int, float],
    better: Direction,
    *,
    margin: float = MARGIN,
    confidence: float = CONFIDENCE,
    looks: Sequence[int] = (),
) -> Comparison:
    """Compare block by block, and judge the interval at `margin`.

    A margin of 0.05 requires a ratio above 1.05 or below 1/1.05; 0 requires one other than 1. `looks`: the numbers of blocks after
    which the run could end, whose intervals hold together; none if the number was fixed. Blocks that lack a side are left out. If a value is not positive there is no ratio, with the reason. Raises ValueError for a negative margin.
    """
    blocks = sorted(set(values) & set(baseline))
    if not blocks:
        return Comparison(reason="no block has both this configuration and the baseline")
    if min(min(values[b], baseline[b]) for b in blocks) <= 0:
        return Comparison(reason="a value is not positive, so there is no ratio")
    ratios = {b: values[b] / baseline[b] for b in blocks}
    error = error_at(blocks[-1] + 1, looks, 1 - confidence)
    interval = mean_interval([math.log(r) for r in ratios.values()], 1 - error)
    if interval.low is None or interval.high is None:
        return Comparison(ratio=math.exp(interval.mean), ratios=ratios, reason="a single block has no interval")
    found = judged(interval.mean, interval.low, interval.high, better, margin)
    return found.model_copy(update={"ratios": ratios})


def judged(mean: float, low: float, high: float, better: Direction, margin: float) -> Comparison:
    """Judge an interval of the logarithm of a ratio at a margin. Raises ValueError for a negative margin."""
    if margin < 0:
        raise ValueError(f"margin {margin}: it must not be negative")
    half = (high - low) / 2
    mean, low, high = math.exp(mean), math.exp(low), math.exp(high)
    return Comparison(
        ratio=mean,
        low=low,
        high=high,
        verdict=verdict_of(low, high, better, margin=margin),
        margin=margin,
        smallest_effect=(1 + margin) * math.exp(half),
        reason="neither more nor less of it is better" if better == "neither" else None,
    )


def verdict_of(low: float, high: float, better: Direction, *, margin: float) -> Verdict | None:
    """The verdict on a ratio's interval: see `Comparison`."""
    if better == "neither":
        return None
    if low > 1 + margin:
        return "better" if better == "higher" else "worse"
    if high < 1 / (1 + margin):
        return "worse" if better == "higher" else "better"
    return "equivalent" if 1 / (1 + margin) <= low and high <= 1 + margin else "undecided"
