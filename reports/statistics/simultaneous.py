"""Simultaneous intervals for several configurations against one baseline.

A 95 % interval misses its truth in one of twenty cases, so the best-looking of many is often a miss. These intervals miss anywhere in
the family in at most one of twenty runs, so they also cover the configuration that is chosen as the best.

The kind is Dunnett's (JASA 50, 1955): many configurations against a common baseline, here in block differences of logarithms.
Each difference is divided by the larger of two standard errors: from its own spread, or from the spread pooled over the configurations.
Pooling makes three to five blocks sufficient: with their own spreads alone, 28 comparisons in five blocks would need 7.2 standard
errors instead of 4.0. The larger of the two protects against a configuration noisier than the others. From four blocks on the noisiest
is not pooled, so that one disturbed trial does not widen the intervals of all.

The critical value comes from a seeded simulation of equal configurations with normal noise in the measured blocks. The baseline's noise
is taken as `BASELINE_NOISE` times the others', so that a somewhat noisier baseline, which is part of every difference, does not make
the intervals too short (tests/truth/statistics/sim_families.py shows the range in which this holds). Several groups of comparisons, such as speed
and joules under two loads, share the error evenly (Bonferroni).

In a run whose results decide its number of blocks the intervals of all looks hold together (`reports.statistics.sequential`). A
comparison that needs no more blocks keeps the interval of its last look and its share of the error: the others are then judged
among themselves, each with no more error than before (tests/truth/statistics/sim_adaptive.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from base.distributions import t_quantile
from reports.statistics.confidence import CONFIDENCE
from reports.statistics.ratios import Comparison, Direction, judged
from reports.statistics.sequential import error_at

BASELINE_NOISE = 1.25
_TRIMMED_FROM = 4  # blocks and configurations: with fewer, leaving one out of the pool costs too much precision
_DRAWS, _MOST_DRAWS, _CHUNK = 40_000, 400_000, 2_000
_BEYOND = 200  # draws beyond the critical value, of which there are more than `_DRAWS` where the error is small

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def compare_together(
    compared: Mapping[str, Comparison],
    better: Direction,
    *,
    margin: float,
    groups: int = 1,
    confidence: float = CONFIDENCE,
    looks: Sequence[int] = (),
) -> dict[str, Comparison]:
    """The same ratios with simultaneous intervals, over these and the other `groups` of the family.

    `looks`: the numbers of blocks after which the run could end; none if that was fixed. A comparison without a verdict is left as
    it is.
    """
    own = {label: found for label, found in compared.items() if found.verdict is not None}
    if not own:
        return dict(compared)
    blocks, logs, present = _differences([found.ratios for found in own.values()])
    error = (1 - confidence) / groups
    last = np.array([np.flatnonzero(there)[-1] for there in present.T])
    ends = last if looks else np.full_like(last, len(blocks) - 1)
    result = dict(compared)
    for end in sorted(set(ends.tolist())):
        known = present[: end + 1]
        beside = np.flatnonzero((ends >= end) & (known.sum(axis=0) > 1))
        if looks:
            error = len(beside) * error_at(blocks[end] + 1, looks, (1 - confidence) / groups / len(own))
        wide = critical(known[:, beside], 1 - error)
        means, errors = _means_and_errors(logs[: end + 1, beside], known[:, beside])
        for column, mean, deviation in zip(beside.tolist(), means.tolist(), errors.tolist(), strict=True):
            if ends[column] == end:
                label, found = list(own.items())[column]
                together = judged(mean, mean - wide * deviation, mean + wide * deviation, better, margin)
                result[label] = together.model_copy(update={"ratios": found.ratios})
    return result


def half_width(blocks: int, configurations: int, groups: int) -> float:
    """The expected half-width, in standard deviations of a pair's logarithm, with equal spreads in complete blocks."""
    present = np.ones((blocks, configurations), bool)
    return critical(present, 1 - (1 - CONFIDENCE) / groups) / math.sqrt(blocks)


def critical(present: Mask, confidence: float) -> float:
    """The critical value in standard errors of the largest difference; `present` is blocks x configurations."""
    return _critical(present.shape, present.tobytes(), confidence)


@lru_cache(maxsize=1024)
def _critical(shape: tuple[int, int], present: bytes, confidence: float) -> float:
    if shape[1] == 1:
        return t_quantile((1 + confidence) / 2, shape[0] - 1)
    mask = np.frombuffer(present, bool).reshape(shape)
    rng = np.random.default_rng(19)
    largest: list[Floats] = []
    draws = min(_MOST_DRAWS, max(_DRAWS, _BEYOND / (1 - confidence)))
    for _ in range(math.ceil(draws / _CHUNK)):
        baseline = BASELINE_NOISE * rng.standard_normal((_CHUNK, shape[0], 1))
        means, errors = _means_and_errors(rng.standard_normal((_CHUNK, *shape)) - baseline, mask)
        largest.append((np.abs(means) / errors).max(axis=-1))
    return float(np.quantile(np.concatenate(largest), confidence))


def _differences(ratios: Sequence[Mapping[int, float]]) -> tuple[list[int], Floats, Mask]:
    """The blocks, logarithms as blocks x configurations, and a mask of those that exist."""
    blocks = sorted(set().union(*ratios))
    present = np.array([[b in own for own in ratios] for b in blocks])
    logs = np.array([[math.log(own[b]) if b in own else 0.0 for own in ratios] for b in blocks])
    return blocks, logs, present


def _means_and_errors(logs: Floats, present: Mask) -> tuple[Floats, Floats]:
    """The mean of each configuration over blocks (the second-last axis), and its standard error."""
    count = present.sum(axis=0)
    means = np.where(present, logs, 0.0).sum(axis=-2) / count
    squares = np.where(present, (logs - means[..., None, :]) ** 2, 0.0).sum(axis=-2)
    own = squares / (count - 1)
    share = np.broadcast_to((count - 1) / (count - 1).sum(), own.shape)
    if min(present.shape) >= _TRIMMED_FROM:
        share = np.where(own == own.max(axis=-1, keepdims=True), 0.0, share)
    total = share.sum(axis=-1, keepdims=True)
    pooled = (share * own).sum(axis=-1, keepdims=True) / np.where(
        total > 0, total, 1.0
    )  # all equal: each is the largest
    return means, np.sqrt(np.maximum(own, pooled) / count)
