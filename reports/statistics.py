"""The interval on a ratio to the baseline, from which every verdict of the report comes.

Trials are paired within blocks: what a block shares (temperature, neighbours on the machine) cancels in the ratio. The
logarithms of the ratios are averaged and given Student's t interval; outliers stay in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from scipy import stats

from energy.records import Record

CONFIDENCE = 0.95
Verdict = Literal["better", "worse", "no detectable difference"]
Direction = Literal["higher", "lower"]


class Interval(Record):
    """A mean of n values with its t interval; one value has no interval."""

    mean: float
    low: float | None
    high: float | None
    n: int


class Comparison(Record):
    """A ratio to the baseline: geometric mean over blocks, 95 % interval, and what may be said of it.

    `ratios` has the ratio of every block that has both. Without two of them there is no interval and no verdict.
    """

    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: Verdict | None = None
    ratios: dict[int, float] = {}
    reason: str | None = None  # why there is no ratio, or no verdict


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Mean and t interval. Raises ValueError without values."""
    if not values:
        raise ValueError("no values")
    mean, n = math.fsum(values) / len(values), len(values)
    if n == 1:
        return Interval(mean=mean, low=None, high=None, n=1)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Interval(mean=mean, low=mean - half, high=mean + half, n=n)


def compare(
    values: Mapping[int, float],
    baseline: Mapping[int, float],
    better: Direction,
    *,
    margin: float = 0.0,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Compare by block. "better" or "worse" is said if the interval lies wholly beyond 1, or beyond `margin` from it.

    margin: 0.05 asks for a ratio above 1.05 or below 1/1.05. Blocks that lack one of the two are left out; a value
    that is not positive has no ratio, and the comparison then has none, with the reason.
    """
    blocks = sorted(set(values) & set(baseline))
    if not blocks:
        return Comparison(reason="no block has both this configuration and the baseline")
    if min(min(values[b], baseline[b]) for b in blocks) <= 0:
        return Comparison(reason="a value is not positive, so there is no ratio")
    ratios = {b: values[b] / baseline[b] for b in blocks}
    interval = mean_interval([math.log(r) for r in ratios.values()], confidence)
    ratio = math.exp(interval.mean)
    if interval.low is None or interval.high is None:
        return Comparison(ratio=ratio, ratios=ratios, reason="a single block has no interval")
    low, high = math.exp(interval.low), math.exp(interval.high)
    return Comparison(ratio=ratio, low=low, high=high, ratios=ratios, verdict=_verdict(low, high, better, margin))


def _verdict(low: float, high: float, better: Direction, margin: float) -> Verdict:
    if low > 1 + margin:
        return "better" if better == "higher" else "worse"
    if high < 1 / (1 + margin):
        return "worse" if better == "higher" else "better"
    return "no detectable difference"
