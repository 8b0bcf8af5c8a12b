"""The paired ratio: trials that share an effect of their block, with noise of several shapes."""

from __future__ import annotations

import math

import numpy as np

from reports.statistics.ratios import compare
from tests.truth.registry import Outcome, Row, covers, inside, simulation

_RATIO = covers("ratio to the baseline, paired within blocks", "5 blocks, normal noise of 2 %")


def _blocks(rng: np.random.Generator, noise: np.ndarray, ratio: float) -> tuple[dict[int, float], dict[int, float]]:
    shared = 100 * np.exp(rng.normal(0, 0.2, noise.shape[1]))
    return dict(enumerate(ratio * shared * np.exp(noise[0]))), dict(enumerate(shared * np.exp(noise[1])))


def _covered(rng: np.random.Generator, noise: np.ndarray) -> bool:
    ratio = math.exp(rng.normal(0, 0.3))
    found = compare(*_blocks(rng, noise, ratio), "higher")
    return inside(ratio, found.low, found.high)


@simulation(short=300, long=5000, covered=_RATIO)
def paired_ratio(rng: np.random.Generator) -> Outcome:
    """Noise as the interval assumes it."""
    return {"covered": _covered(rng, rng.normal(0, 0.02, (2, 5)))}


@simulation(
    short=300,
    long=5000,
    covered=Row("ratio to the baseline, paired within blocks", "5 blocks, skewed noise (gamma)", "95 %", 0.93, 0.995),
)
def paired_ratio_skewed(rng: np.random.Generator) -> Outcome:
    """Noise with a long tail."""
    return {"covered": _covered(rng, np.log(rng.gamma(4, size=(2, 5))))}
