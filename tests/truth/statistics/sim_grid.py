"""Interactions in a grid of two factors: the truth is the four means that were put in, and their ratio of ratios worked out here."""

from __future__ import annotations

import numpy as np

from reports.analysis.grid import Grid, GridFigures
from tests.truth.registry import Outcome, Row, covers, inside, simulation

_LABELS = {(a, b): f"{a}{b}" for a in "xy" for b in "uv"}
_GRID = Grid({label: {"first": a, "second": b} for (a, b), label in _LABELS.items()}, "xu")
_WHAT = "interaction of two factors, paired within blocks"


def _figures(rng: np.random.Generator, interaction: float, noise: float = 0.02) -> tuple[GridFigures, float, float]:
    """What the product finds in five blocks, the true ratio of the second factor's effects, and the first factor's true effect."""
    own, other = np.exp(rng.normal(0, 0.3, 2))
    means = {"xu": 10.0, "yu": 10.0 * own, "xv": 10.0 * other, "yv": 10.0 * own * other * interaction}
    shared = np.exp(rng.normal(0, 0.2, 5))
    values = {
        label: dict(enumerate((mean * shared * np.exp(rng.normal(0, noise, 5))).tolist()))
        for label, mean in means.items()
    }
    truth = (means["yv"] / means["yu"]) / (means["xv"] / means["xu"])
    return _GRID.analyse("load", "quantity", values, "higher"), truth, means["yu"] / means["xu"]


@simulation(
    short=300,
    long=5000,
    covered=covers(_WHAT, "5 blocks, normal noise of 2 %, an interaction of 1.10"),
    found=Row(_WHAT, "the same: it is said to be there", "at least 80 %", at_least=0.8),
)
def interaction(rng: np.random.Generator) -> Outcome:
    """One that is there."""
    figures, truth, _ = _figures(rng, 1.10)
    (found,) = figures.interactions
    return {"covered": inside(truth, found.comparison.low, found.comparison.high), "found": found.is_there}


@simulation(
    short=300,
    long=5000,
    false=Row(_WHAT, "5 blocks, normal noise of 2 %, none: it is said to be there", "at most 5 %", at_most=0.055),
    averaged=covers("effect of a factor, mean over the levels of another", "the same, where it is shown"),
)
def no_interaction(rng: np.random.Generator) -> Outcome:
    """None: the mean effect is shown, but where chance made an interaction."""
    figures, _, effect = _figures(rng, 1.0)
    (found,) = figures.interactions
    mean = next(one.comparison for one in figures.effects if (one.factor, one.beside) == ("first", None))
    outcome: dict[str, bool | float] = {"false": found.is_there}
    return outcome | ({} if found.is_there else {"averaged": inside(effect, mean.low, mean.high)})
