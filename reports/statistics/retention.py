"""The share of the baseline's score that a configuration keeps, item by item, and its slope over the width.

Both configurations answer the same items, so an item's difficulty cancels. Every figure is a smooth function of sums over items and
carries each item's influence on it (first order): by the delta method the variance is n/(n-1) times the sum of the squared
influences, and derived figures keep their influences. Intervals are Student's t with n-1 degrees of freedom. They generalise to
other items of the same kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from base.distributions import t_quantile
from reports.runs.records.quality import Score, TaskResult
from reports.statistics.confidence import CONFIDENCE
from reports.statistics.ratios import Comparison, verdict_of

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Kept:
    """A share of the baseline's score; 1 is as good. `influences` has one entry per item; None: the items are unknown.

    `variance` is of the share.
    """

    share: float
    variance: float | None
    influences: Floats | None = None

    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval; None if the variance is unknown."""
        if self.variance is None:
            return None
        freedom = len(self.influences) - 1 if self.influences is not None else math.inf
        half = t_quantile((1 + CONFIDENCE) / 2, freedom) * math.sqrt(self.variance)
        return self.share - half, self.share + half

    def comparison(self, margin: float) -> Comparison:
        """As a comparison, like the report's other ratios. The interval is of the share, not of its logarithm, so the smallest
        effect is that of a loss: the inverse of the largest share whose interval would be below 1 / (1 + margin).
        """
        ends = self.interval()
        if ends is None:
            return Comparison(ratio=self.share, reason="its spread is not known")
        low, high = max(0.0, ends[0]), ends[1]
        shown = 1 / (1 + margin) - (high - self.share)
        return Comparison(
            ratio=self.share,
            low=low,
            high=high,
            verdict=verdict_of(low, high, "higher", margin=margin),
            margin=margin,
            smallest_effect=1 / shown if shown > 0 else None,
        )


def kept(own: TaskResult, baseline: TaskResult) -> Kept | str:
    """The share of the baseline's headline score that `own` keeps, or the reason why there is none.

    A perplexity's share is baseline / own, so that less is worse for every task.
    """
    if own.settings != baseline.settings or own.version != baseline.version or own.shots != baseline.shots:
        return "it was not asked as the baseline was"
    a, b = own.scores[0], baseline.scores[0]
    if (a.metric, a.filter) != (b.metric, b.filter):
        return f"it has {a.metric}, the baseline {b.metric}"
    paired = _have_same_items(own, baseline)
    if paired and own.statistic == "perplexity":
        return kept_likelihood(np.array(own.values), np.array(baseline.values), np.array(own.weights))
    if paired and a.higher_is_better:
        return kept_mean(np.array(own.values), np.array(baseline.values))
    return _kept_scores(*((a, b) if a.higher_is_better else (b, a)))


def kept_more(own: TaskResult, other: TaskResult, baseline: TaskResult) -> Kept | str:
    """By how much more of the baseline's score `own` keeps than `other`: the difference of both shares, or why there is none.

    0 if they are as good. Either may be the baseline. A difference of scores is taken item by item, and the baseline's score only
    scales it: its interval leaves out 0 where that of the difference does.
    """
    shares = [Kept(1.0, 0.0) if one is baseline else kept(one, baseline) for one in (own, other)]
    if reason := next((share for share in shares if isinstance(share, str)), None):
        return reason
    first, second = (share for share in shares if isinstance(share, Kept))
    gap = first.share - second.share
    if _have_same_items(own, baseline) and _have_same_items(other, baseline):
        if own.statistic == "mean" and own.scores[0].higher_is_better:
            apart = np.array(own.values) - np.array(other.values)
            return _with_influences(gap, (apart - apart.mean()) / math.fsum(baseline.values))
        if own.statistic == "perplexity":
            ours, others = (0.0 if one.influences is None else one.influences for one in (first, second))
            return _with_influences(gap, np.zeros(len(own.values)) + ours - others)
    if first.variance is None or second.variance is None:
        return Kept(gap, None)
    return Kept(gap, first.variance + second.variance)  # as if independent, though both have the baseline's noise


def _have_same_items(own: TaskResult, other: TaskResult) -> bool:
    if own.statistic is None or own.statistic != other.statistic:
        return False
    return len(own.values) == len(other.values) and own.weights == other.weights


def _kept_scores(up: Score, down: Score) -> Kept | str:
    """Without items: from the two standard errors, assumed independent."""
    if down.value <= 0 or up.value <= 0:
        return "a score is not positive, so there is no ratio"
    share = up.value / down.value
    if up.standard_error is None or down.standard_error is None:
        return Kept(share, None)
    return Kept(share, share**2 * ((up.standard_error / up.value) ** 2 + (down.standard_error / down.value) ** 2))


def kept_mean(own: Floats, baseline: Floats) -> Kept | str:
    """[items] values of both: the ratio of their sums, or why there is none."""
    total = float(baseline.sum())
    if total <= 0:
        return "the baseline has no point, so there is no ratio"
    share = float(own.sum()) / total
    if share == 0:
        return Kept(0.0, None)
    return _with_influences(share, (own - share * baseline) / total)


def kept_likelihood(own: Floats, baseline: Floats, weights: Floats) -> Kept:
    """[items] log-likelihoods of both: exp of their difference for each unit of weight, the baseline's perplexity over the own one."""
    gained, total = own - baseline, float(weights.sum())
    mean = float(gained.sum()) / total
    share = math.exp(mean)
    return _with_influences(share, share * (gained - mean * weights) / total)


def _with_influences(share: float, influences: Floats) -> Kept:
    n = len(influences)
    return Kept(share, n / (n - 1) * float((influences**2).sum()) if n > 1 else None, influences)


def slope(shares: Sequence[tuple[float, Kept]]) -> Kept | str:
    """The slope, as a `Kept`, of the straight line through shares over relative width; the baseline is at width 1 with a share of 1.

    A slope of 1 loses a tenth of the score for every tenth of the width. All configurations have equal weight.
    """
    x = np.array([*(width for width, _ in shares), 1.0])
    if len(x) < 3 or np.ptp(x) == 0:
        return "a slope takes the baseline and two other widths"
    influences = [one.influences for _, one in shares]
    if any(p is None for p in influences):
        return "its items are not known"
    weights = (x - x.mean()) / float(((x - x.mean()) ** 2).sum())
    share = float(weights @ np.array([*(one.share for _, one in shares), 1.0]))
    return _with_influences(
        share, sum((c * p for c, p in zip(weights, influences, strict=False) if p is not None), np.zeros(1))
    )


def average(shares: list[Kept]) -> Kept:
    """The mean of several tasks' shares; their items differ, so their variances add."""
    n = len(shares)
    variances: list[Any] = [one.variance for one in shares]
    known = None if None in variances else math.fsum(variances) / n**2
    return Kept(math.fsum(one.share for one in shares) / n, known)
