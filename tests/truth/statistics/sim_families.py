"""Families of comparisons, the verdicts read off them, and Welch's interval: the truth is the ratio that was put in.

A run here has a baseline and seven widths, two purposes, speed and joules: 28 comparisons. A block has an effect of its own that
all its trials share; each trial's noise is half its own quantity's and half the trial's (a slow trial takes more joules too).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from reports.statistics.ratios import Comparison, compare
from reports.statistics.simultaneous import compare_together
from reports.statistics.unpaired import compare_unpaired
from tests.truth.registry import Outcome, Row, covers, inside, rare, simulation

WIDTHS, PURPOSES, QUANTITIES = 7, 2, 2
GROUPS = PURPOSES * QUANTITIES
NOISE = 0.01
Floats = npt.NDArray[np.float64]
_EQUAL: Floats = np.zeros((PURPOSES, QUANTITIES, WIDTHS))  # true logarithms of equal configurations

_TOGETHER = "intervals of the advice, all at once"
_ANYWHERE = "false 'better' anywhere in the advice's comparisons"
_WELCH = "ratio between two runs (Welch)"
_WIDTH = "mean width over that of Dunnett's with the spread pooled over all"


def _noise(rng: np.random.Generator, blocks: int) -> Floats:
    """(purposes, quantities, blocks, 1 + widths), correlated between the quantities of a trial."""
    shape = (PURPOSES, QUANTITIES, blocks, 1 + WIDTHS)
    trial = rng.normal(0, NOISE, (PURPOSES, 1, blocks, 1 + WIDTHS))
    return math.sqrt(0.5) * (trial + rng.normal(0, NOISE, shape))


def _family(rng: np.random.Generator, noise: Floats, truth: Floats) -> list[list[Comparison]]:
    """The product's comparisons of each group; `truth` has the true logarithms of the ratios, (purposes, quantities, widths)."""
    groups = []
    for purpose in range(PURPOSES):
        for quantity in range(QUANTITIES):
            logs = noise[purpose, quantity] + rng.normal(0, 0.2, (noise.shape[2], 1))
            logs[:, 1:] += truth[purpose, quantity]
            columns = [dict(enumerate(np.exp(column))) for column in logs.T]
            compared = {str(k): compare(own, columns[0], "higher") for k, own in enumerate(columns) if k}
            together = compare_together(compared, "higher", margin=0.0, groups=GROUPS)
            groups.append([together[str(k)] for k in range(1, 1 + WIDTHS)])
    return groups


def _hold(groups: list[list[Comparison]], truth: Floats) -> list[bool]:
    flat = [found for group in groups for found in group]
    return [math.log(f.low or 0) <= t <= math.log(f.high or 0) for f, t in zip(flat, truth.reshape(-1), strict=True)]


def _mean_width(groups: list[list[Comparison]]) -> float:
    return float(np.mean([math.log((f.high or 1) / (f.low or 1)) for group in groups for f in group]))


@lru_cache
def _dunnett(freedom: int) -> float:
    """Dunnett's two-sided critical value for the widths at 1 - 0.05 / GROUPS and a correlation of 0.5, by its double integral."""
    spreads = np.sqrt(stats.chi2.ppf((np.arange(400) + 0.5) / 400, freedom) / freedom)
    shared, weights = np.polynomial.hermite_e.hermegauss(80)

    def inside(value: float) -> float:
        reach = math.sqrt(2) * value * spreads[:, None]
        each = stats.norm.cdf(shared + reach) - stats.norm.cdf(shared - reach)
        return float((weights / weights.sum() * each**WIDTHS).sum(axis=1).mean())

    return float(optimize.brentq(lambda value: inside(value) - (1 - 0.05 / GROUPS), 2, 6))


def _width_ratio(groups: list[list[Comparison]], blocks: int) -> float:
    """Over Dunnett's width in the same runs, with the residual of an analysis of variance by block and configuration."""
    freedom = (blocks - 1) * WIDTHS
    dunnett = []
    for group in groups:
        logs = np.array([[0.0] * blocks, *(np.log(list(f.ratios.values())) for f in group)])
        rest = logs - logs.mean(axis=0) - logs.mean(axis=1, keepdims=True) + logs.mean()
        dunnett.append(2 * _dunnett(freedom) * math.sqrt(2 * float((rest**2).sum()) / freedom / blocks))
    return _mean_width(groups) / float(np.mean(dunnett))


def _rows_of_28(blocks: int) -> dict[str, Row]:
    return {
        "better": rare(_ANYWHERE, f"28 of equal configurations, {blocks} blocks"),
        "covered": covers(_TOGETHER, f"28 comparisons, {blocks} blocks"),
        "width": Row(_WIDTH, f"28 comparisons, {blocks} blocks", "at most 1.3", at_most=1.3),
    }


def _outcome_of_28(rng: np.random.Generator, blocks: int) -> Outcome:
    groups = _family(rng, _noise(rng, blocks), _EQUAL)
    return {
        "better": _anything_better(groups),
        "covered": all(_hold(groups, _EQUAL)),
        "width": _width_ratio(groups, blocks),
    }


def _anything_better(groups: list[list[Comparison]]) -> bool:
    return any(found.verdict == "better" for group in groups for found in group)


@simulation(short=60, long=4000, **_rows_of_28(5))
def family_of_28(rng: np.random.Generator) -> Outcome:
    """Five blocks, the default."""
    return _outcome_of_28(rng, 5)


@simulation(short=60, long=4000, **_rows_of_28(3))
def family_of_28_in_3_blocks(rng: np.random.Generator) -> Outcome:
    """Three blocks, as in a short run."""
    return _outcome_of_28(rng, 3)


_UNLIKE = {
    "better": ("one width twice as noisy", np.array([1.0] * WIDTHS + [2.0])),
    "baseline": ("baseline twice as noisy", np.array([2.0] + [1.0] * WIDTHS)),
    "graded": ("noise growing to threefold", np.linspace(1, 3, 1 + WIDTHS)),
}


@simulation(
    short=24,
    long=2000,
    **{key: rare(_ANYWHERE, f"28 of equal configurations, 5 blocks, {words}") for key, (words, _) in _UNLIKE.items()},
)
def family_of_unlike_noise(rng: np.random.Generator) -> Outcome:
    """Configurations with different spreads."""
    return {
        key: _anything_better(_family(rng, _noise(rng, 5) * spread, _EQUAL)) for key, (_, spread) in _UNLIKE.items()
    }


@simulation(
    short=60,
    long=3000,
    speed=Row("interval of the chosen configuration", "the fastest of 7 equal ones, 5 blocks", "at least 95 %", at_least=0.93),
    unequal=Row("interval of the chosen configuration", "the fastest of 7, gains of 0 to 3 %", "at least 95 %", at_least=0.93),
    saved=Row("joules of the chosen configuration", "the fastest of 7, gains of 0 to 3 %", "at least 95 %", at_least=0.93),
    alone=Row("for comparison: its uncorrected interval", "the fastest of 7 equal ones, 5 blocks", "below 95 %", at_most=0.93),
)  # fmt: skip
def chosen_configuration(rng: np.random.Generator) -> Outcome:
    """The configuration with the largest measured ratio, which selection biases upwards."""
    result: dict[str, bool | float] = {}
    for name, scale in (("speed", 0.0), ("unequal", 0.03)):
        truth = np.broadcast_to(np.linspace(0, scale, WIDTHS), (PURPOSES, QUANTITIES, WIDTHS))
        groups = _family(rng, _noise(rng, 5), truth)
        best = max(range(WIDTHS), key=lambda k: groups[0][k].ratio or 0)
        held = np.array(_hold(groups, truth)).reshape(GROUPS, WIDTHS)
        result[name] = bool(held[0, best])
        if name == "unequal":
            result["saved"] = bool(held[1, best])
        else:
            logs = np.log(list(groups[0][best].ratios.values()))
            half = 2.776 * logs.std(ddof=1) / math.sqrt(len(logs))  # Student's t of 4 degrees of freedom
            result["alone"] = bool(abs(logs.mean()) <= half)
    return result


@simulation(
    short=300,
    long=5000,
    equivalent=rare("false 'equivalent'", "a true difference of exactly the margin, 5 %, 8 blocks", 0.025),
    exceeds=Row("false 'better'", "a true difference of exactly the margin, 5 %, 8 blocks", "at most 2.5 %", at_most=0.03),
    shown=Row("share called better at the smallest effect", "the effect that an equal run states, 8 blocks", "about half", 0.4, 0.6),
)  # fmt: skip
def verdict_at_the_margin(rng: np.random.Generator) -> Outcome:
    """At exactly the margin both verdicts are wrong; each may occur in 2.5 % at most."""
    logs = rng.normal(0, 0.02, (8, 2)) + rng.normal(0, 0.2, (8, 1))
    baseline = dict(enumerate(np.exp(logs[:, 0])))
    found = compare(dict(enumerate(1.05 * np.exp(logs[:, 1]))), baseline, "higher", margin=0.05)
    equal = compare(dict(enumerate(np.exp(logs[:, 1]))), baseline, "higher", margin=0.05)
    effect = equal.smallest_effect or 1.0
    again = rng.normal(0, 0.02, (8, 2)) + rng.normal(0, 0.2, (8, 1))
    true = compare(
        dict(enumerate(effect * np.exp(again[:, 1]))), dict(enumerate(np.exp(again[:, 0]))), "higher", margin=0.05
    )
    return {
        "equivalent": found.verdict == "equivalent",
        "exceeds": found.verdict == "better",
        "shown": true.verdict == "better",
    }


@simulation(
    short=300,
    long=5000,
    alike=covers(_WELCH, "5 and 5 trials of 2 %"),
    unlike=covers(_WELCH, "5 trials of 1 % and 3 of 4 %"),
    reversed=covers(_WELCH, "3 trials of 1 % and 10 of 4 %"),
)
def between_runs(rng: np.random.Generator) -> Outcome:
    """Trials without common blocks, with different variances and numbers."""
    cases = {"alike": (5, 0.02, 5, 0.02), "unlike": (5, 0.01, 3, 0.04), "reversed": (3, 0.01, 10, 0.04)}
    result = {}
    for name, (n, spread, m, other) in cases.items():
        ratio = math.exp(rng.normal(0, 0.3))
        after = [float(v) for v in ratio * np.exp(rng.normal(0, spread, n))]
        before = [float(v) for v in np.exp(rng.normal(0, other, m))]
        found = compare_unpaired(after, before, "lower")
        result[name] = inside(ratio, found.low, found.high)
    return result
