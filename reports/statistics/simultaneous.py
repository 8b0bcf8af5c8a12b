"""Several configurations against one baseline: intervals that all hold at once, each wide enough for the number of them.

A 95 % interval misses its truth in one of twenty, so among many the best-looking one is often a miss. These intervals miss in
at most one of twenty runs *anywhere in the family*, which also covers the one that is chosen for being best.

The kind is Dunnett's (JASA 50, 1955): many configurations against a common baseline, here in block differences of logarithms.
Each difference is divided by the standard error from its own spread or from the spread pooled over the configurations,
whichever is larger. Pooling makes three to five blocks useful: from its own spread alone, 28 comparisons in five blocks would
need 7.2 standard errors instead of 4.0. The larger of the two keeps a configuration noisier than the others honest, and the
noisiest is not pooled from four blocks on, so that one disturbed trial does not widen the intervals of all.

The critical value comes from a seeded simulation of configurations that are equal, normal noise, in the very blocks that were
measured. The baseline's noise is taken to be `BASELINE_NOISE` times the others', so that a somewhat noisier baseline, which is in
every difference, does not make the intervals too short (tests/truth/statistics/sim_families.py has what that holds for). Several groups of
comparisons, such as speed and joules under two loads, share the error evenly (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy

from reports.statistics.confidence import CONFIDENCE
from reports.statistics.ratios import Comparison, Direction, judged

BASELINE_NOISE = 1.25
_TRIMMED_FROM = 4  # blocks and configurations: with fewer, leaving one out of the pooled spread costs too much
_DRAWS, _CHUNK = 40_000, 2_000

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def compare_together(
    compared: Mapping[str, Comparison],
    better: Direction,
    *,
    margin: float,
    groups: int = 1,
    confidence: float = CONFIDENCE,
) -> dict[str, Comparison]:
    """The same ratios with intervals that hold together, over these and the other `groups` of the family.

    A comparison without a verdict keeps its reason and has no part in it.
    """
    own = {label: found for label, found in compared.items() if found.verdict is not None}
    if not own:
        return dict(compared)
    logs, present = _differences([found.ratios for found in own.values()])
    wide = critical(present, 1 - (1 - confidence) / groups)
    means, errors = _means_and_errors(logs, present)
    result = dict(compared)
    for (label, found), mean, error in zip(own.items(), means, errors, strict=True):
        half = wide * float(error)
        together = judged(float(mean), float(mean) - half, float(mean) + half, better, margin)
        result[label] = together.model_copy(update={"ratios": found.ratios})
    return result


def half_width(blocks: int, configurations: int, groups: int) -> float:
    """The half-width to expect, in standard deviations of a pair's logarithm, with equal spreads in full blocks."""
    present = np.ones((blocks, configurations), bool)
    return critical(present, 1 - (1 - CONFIDENCE) / groups) / math.sqrt(blocks)


def critical(present: Mask, confidence: float) -> float:
    """How many standard errors the largest of the differences stays within; `present` is blocks x configurations."""
    return _critical(present.shape, present.tobytes(), confidence)


@lru_cache(maxsize=64)
def _critical(shape: tuple[int, int], present: bytes, confidence: float) -> float:
    if shape[1] == 1:
        return float(scipy.stats.t.ppf((1 + confidence) / 2, shape[0] - 1))
    mask = np.frombuffer(present, bool).reshape(shape)
    rng = np.random.default_rng(19)
    largest: list[Floats] = []
    for _ in range(_DRAWS // _CHUNK):
        baseline = BASELINE_NOISE * rng.standard_normal((_CHUNK, shape[0], 1))
        means, errors = _means_and_errors(rng.standard_normal((_CHUNK, *shape)) - baseline, mask)
        largest.append((np.abs(means) / errors).max(axis=-1))
    return float(np.quantile(np.concatenate(largest), confidence))


def _differences(ratios: Sequence[Mapping[int, float]]) -> tuple[Floats, Mask]:
    """Logarithms as blocks x configurations, and where there is one."""
    blocks = sorted(set().union(*ratios))
    present = np.array([[b in own for own in ratios] for b in blocks])
    logs = np.array([[math.log(own[b]) if b in own else 0.0 for own in ratios] for b in blocks])
    return logs, present


def _means_and_errors(logs: Floats, present: Mask) -> tuple[Floats, Floats]:
    """Of each configuration, over blocks (the last axis but one): the mean, and its standard error."""
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
    )  # all alike: each is the largest
    return means, np.sqrt(np.maximum(own, pooled) / count)
