"""The order of a run: the effect of a linear drift of the machine on the ratios."""

from __future__ import annotations

import math

import numpy as np

from prunebench.run.schedule import Order, schedule_visits
from reports.statistics.ratios import Comparison, compare
from tests.truth.registry import Outcome, Row, covers, inside, simulation

_DRIFT = 0.02  # a block
_RATIO = "ratio to the baseline under a drift of 2 % a block"


def _positions(rng: np.random.Generator, blocks: int, configurations: int) -> dict[str, np.ndarray]:
    """The time of each configuration in each block, in blocks since the start of the run."""
    labels = [f"c{n}" for n in range(configurations)]
    seed = int(rng.integers(2**31))
    visits = schedule_visits(labels, ["load"], Order((blocks,)), seed=seed, baseline="c0")
    at = {(visit.label, visit.block): place / configurations for place, visit in enumerate(visits)}
    return {label: np.array([at[label, block] for block in range(blocks)]) for label in labels}


def _even(rng: np.random.Generator) -> tuple[int, int]:
    """Blocks and configurations whose order can be balanced."""
    while True:
        blocks, configurations = int(rng.integers(2, 11)), int(rng.integers(2, 10))
        if blocks * (configurations + 1) % 2 == 0:
            return blocks, configurations


def _compared(values: np.ndarray, baseline: np.ndarray) -> Comparison:
    return compare(dict(enumerate(values.tolist())), dict(enumerate(baseline.tolist())), "higher")


@simulation(
    short=100,
    long=5000,
    off=Row(_RATIO, "blocks x (configurations + 1) even, no noise: largest error", "0", at_most=1e-9),
    straight=Row(_RATIO, "the same, the drift added and not compounded: largest error", "0", at_most=2e-4),
    odd=Row(
        _RATIO, "4 configurations, 5 blocks (one more would balance them): largest error", "0.1 %", at_most=0.00101
    ),
)
def order_drift(rng: np.random.Generator) -> Outcome:
    """Without noise: the remaining effect of the drift."""

    def largest(blocks: int, configurations: int, *, compound: bool) -> float:
        truth = math.exp(rng.normal(0, 0.3))
        at = _positions(rng, blocks, configurations)
        drifted = {k: (1 + _DRIFT) ** t if compound else 1 + _DRIFT * t for k, t in at.items()}
        found = [_compared(truth * v, drifted["c0"]) for k, v in drifted.items() if k != "c0"]
        return max(abs((one.ratio or math.inf) / truth - 1) for one in found)

    return {
        "off": largest(*_even(rng), compound=True),
        "straight": largest(*_even(rng), compound=False),
        "odd": largest(5, 4, compound=True),
    }


@simulation(
    short=300,
    long=5000,
    covered=covers("ratio to the baseline, paired within blocks", "drift of 2 % a block, noise of 2 %, 2 to 10 blocks"),
)
def order_drift_noise(rng: np.random.Generator) -> Outcome:
    """With noise: the drift within a block widens the interval and does not move it."""
    truth = math.exp(rng.normal(0, 0.3))
    blocks, configurations = _even(rng)
    at = _positions(rng, blocks, configurations)
    values = {k: (1 + _DRIFT) ** t * np.exp(rng.normal(0, 0.02, blocks)) for k, t in at.items()}
    found = _compared(truth * values["c1"], values["c0"])
    return {"covered": inside(truth, found.low, found.high)}
