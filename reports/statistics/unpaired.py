"""The interval on a ratio between trials that share no block, such as those of two runs: Welch's t on logarithms.

Blocks of different runs share no effects that would cancel, so trials are independent and the spread between blocks is part of the
interval. The spreads of the runs may differ, hence Welch's form (Biometrika 34, 1947), with Satterthwaite's degrees of freedom. Effects
that differ between two sessions but not within one (another boot, another neighbour) are in no interval; the margin allows for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from base.distributions import t_quantile
from loadgen.metrics.latencies import FloatArray
from reports.statistics.confidence import CONFIDENCE
from reports.statistics.ratios import Comparison, Direction, judged


def compare_unpaired(
    values: Sequence[float],
    reference: Sequence[float],
    better: Direction,
    *,
    margin: float = 0.0,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """The ratio of geometric means, `values` over `reference`, its interval, and the verdict at `margin` (0.02: 2 %).

    Outliers stay in. Without two trials on each side there is a ratio without an interval, and the reason.
    """
    if not values or not reference:
        return Comparison(reason="not measured in both")
    if min(*values, *reference) <= 0:
        return Comparison(reason="a value is not positive, so there is no ratio")
    own, other = np.log(values), np.log(reference)
    middle = float(own.mean() - other.mean())
    if min(len(own), len(other)) < 2:
        return Comparison(ratio=math.exp(middle), reason="a single trial has no spread, so there is no interval")
    return judged(middle, *_interval(own, other, confidence), better, margin)


def _interval(own: FloatArray, other: FloatArray, confidence: float) -> tuple[float, float]:
    """Welch's interval of the difference of two means."""
    middle = float(own.mean() - other.mean())
    squares = [float(side.var(ddof=1)) / len(side) for side in (own, other)]
    total = sum(squares)
    if not total:
        return middle, middle
    degrees = total**2 / sum(s**2 / (len(side) - 1) for s, side in zip(squares, (own, other), strict=True))
    half = t_quantile((1 + confidence) / 2, degrees) * math.sqrt(total)
    return middle - half, middle + half
