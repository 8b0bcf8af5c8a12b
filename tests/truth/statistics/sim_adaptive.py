"""Runs whose results decide their number of blocks: the truth is the ratio that was put in.

Such a run measures five blocks, looks, and adds blocks until every interval is within 2 %, each without the configurations whose
intervals are; at the latest it ends after `MOST` blocks. Its reader may be hasty, and end it at the first verdict seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from reports.analysis.precision import precisions, settled
from reports.analysis.records import Precision
from reports.statistics.ratios import compare
from tests.truth.registry import Outcome, Row, rare, simulation

FIRST, MOST, WITHIN = 5, 16, 0.02
SPEED, JOULES = "output_tokens_per_s", "joules_per_output_token"
BASELINE = "0"
Floats = npt.NDArray[np.float64]
Noise = Callable[[np.random.Generator, tuple[int, ...]], Floats]


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.standard_normal(shape)


def _heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Student's t of 5 degrees of freedom, with a variance of 1: now and then a trial is far off."""
    return rng.standard_t(5, shape) / math.sqrt(5 / 3)


def _skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return (rng.gamma(4, size=shape) - 4) / 2


@dataclass(frozen=True)
class Case:
    """A family: `spreads` of a trial's logarithm, the baseline's first; two quantities under each of `workloads`."""

    spreads: tuple[float, ...]
    workloads: int = 2
    noise: Noise = _normal

    def draw(self, rng: np.random.Generator, blocks: int) -> dict[tuple[str, str], Floats]:
        """Logarithms by workload and quantity, blocks x configurations, all truly equal; half of a trial's noise is in both quantities."""
        shape = (blocks, len(self.spreads))
        found = {}
        for workload in range(self.workloads):
            trial = self.noise(rng, shape)
            for key in (SPEED, JOULES):
                own = math.sqrt(0.5) * (trial + self.noise(rng, shape)) * np.array(self.spreads)
                found[f"w{workload}", key] = own + rng.normal(0, 0.2, (blocks, 1))
        return found


@dataclass(frozen=True)
class Run:
    """How one went: its last intervals, the visits that it took, and whether any look showed a difference that is not there."""

    found: Sequence[Precision]
    visits: int
    fooled: bool

    @property
    def covered(self) -> bool:
        return all((one.comparison.low or 0) <= 1 <= (one.comparison.high or 0) for one in self.found)

    @property
    def differs(self) -> bool:
        return _differs(self.found)


def _differs(found: Sequence[Precision]) -> bool:
    return any(one.comparison.verdict in {"better", "worse"} for one in found)


def _found(logs: Mapping[tuple[str, str], Floats], ends: Mapping[str, int], looks: Sequence[int]) -> list[Precision]:
    """The product's intervals of the first blocks of each configuration, judged at no margin."""
    values = {
        group: {label: dict(enumerate(np.exp(own[:end, int(label)]).tolist())) for label, end in ends.items()}
        for group, own in logs.items()
    }
    return precisions(values, BASELINE, looks, 0.0)


def _run(rng: np.random.Generator, case: Case) -> Run:
    logs = case.draw(rng, MOST)
    labels = [str(number) for number in range(len(case.spreads))]
    out: dict[str, int] = {}
    fooled = False
    for blocks in range(FIRST, MOST + 1):
        ends = {label: out.get(label, blocks) for label in labels}
        found = _found(logs, ends, range(FIRST, blocks + 1))
        fooled = fooled or _differs(found)
        for label in settled(found, WITHIN):
            out.setdefault(label, blocks)
        if len(out) == len(labels) - 1:
            break
    return Run(found, sum(ends.values()), fooled)


@lru_cache
def _fixed_blocks(case: Case) -> int:
    """The smallest number of blocks, fixed before, after which all intervals are within 2 % in nine of ten runs."""
    labels = [str(number) for number in range(len(case.spreads))]

    def enough(blocks: int) -> bool:
        known = 0
        for seed in range(60):
            logs = case.draw(np.random.default_rng([seed, 7]), blocks)
            found = _found(logs, dict.fromkeys(labels, blocks), ())
            known += len(settled(found, WITHIN)) == len(labels) - 1
        return known >= 54

    low, high = 2, 64
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


FAMILY = Case((0.007,) * 8)
_HOLD, _FALSE = "sequential intervals, all at once", "false 'better' or 'worse' anywhere"
_OF_28 = "28 comparisons, 5 to 16 blocks, known ones left out"


@simulation(
    short=1,
    long=1500,
    covered=Row(_HOLD, _OF_28, "at least 95 %", at_least=0.94),
    differs=rare(_FALSE, _OF_28),
    hasty=rare(_FALSE, f"{_OF_28}, ended at the first verdict"),
    graded=Row(_HOLD, f"{_OF_28}, noise growing to threefold", "at least 95 %", at_least=0.94),
    fooled=rare(_FALSE, f"{_OF_28}, noise growing to threefold, ended at the first verdict"),
)  # fmt: skip
def adaptive_family(rng: np.random.Generator) -> Outcome:
    """Seven configurations under two workloads, in two quantities."""
    run = _run(rng, FAMILY)
    graded = _run(rng, Case(tuple(np.linspace(0.004, 0.012, 8).tolist())))
    return {
        "covered": run.covered,
        "differs": run.differs,
        "hasty": run.fooled,
        "graded": graded.covered,
        "fooled": graded.fooled,
    }


_OF_ONE = "one configuration and the baseline, 5 to 16 blocks"


@simulation(
    short=40,
    long=4000,
    covered=Row(_HOLD, f"{_OF_ONE}, two quantities", "at least 95 %", at_least=0.94),
    hasty=rare(_FALSE, f"{_OF_ONE}, ended at the first verdict"),
    heavy=rare(_FALSE, f"{_OF_ONE}, ended at the first verdict, heavy-tailed noise"),
    skewed=rare(_FALSE, f"{_OF_ONE}, ended at the first verdict, skewed noise (gamma)"),
    baseline=rare(_FALSE, f"{_OF_ONE}, ended at the first verdict, baseline twice as noisy"),
)  # fmt: skip
def adaptive_pair(rng: np.random.Generator) -> Outcome:
    """The smallest family."""
    run = _run(rng, Case((0.01, 0.01), workloads=1))
    return {
        "covered": run.covered,
        "hasty": run.fooled,
        "heavy": _run(rng, Case((0.01, 0.01), workloads=1, noise=_heavy)).fooled,
        "skewed": _run(rng, Case((0.01, 0.01), workloads=1, noise=_skewed)).fooled,
        "baseline": _run(rng, Case((0.02, 0.01), workloads=1)).fooled,
    }


@simulation(
    short=200,
    long=5000,
    looks=rare("sequential interval of one cell", "wrong at any look after 3 to 30 blocks"),
    extended=rare("sequential interval of one cell", "5 blocks, extended to 8 and 16 until it leaves out 1: false verdict"),
    naive=Row("for comparison: its fixed interval", "wrong at any look after 3 to 30 blocks", "above 5 %", at_least=0.1),
)  # fmt: skip
def adaptive_cell(rng: np.random.Generator) -> Outcome:
    """A ratio whose interval is looked at again and again."""
    shared = rng.normal(0, 0.2, 30)
    own, baseline = (dict(enumerate(np.exp(shared + rng.normal(0, 0.02, 30)).tolist())) for _ in range(2))

    def wrong(blocks: int, looks: Sequence[int]) -> bool:
        found = compare({b: own[b] for b in range(blocks)}, baseline, "higher", margin=0.0, looks=looks)
        return found.verdict in {"better", "worse"}

    return {
        "looks": any(wrong(blocks, range(3, blocks + 1)) for blocks in range(3, 31)),
        "extended": any(wrong(blocks, (5, 8, 16)) for blocks in (5, 8, 16)),
        "naive": any(wrong(blocks, ()) for blocks in range(3, 31)),
    }


_VISITS = "visits of a run that decides its blocks, over those of a fixed one"


@simulation(
    short=1,
    long=400,
    alike=Row(_VISITS, "3 configurations alike, the fixed run as long as this noise takes (9 of 10 runs)", "at most 1.5", at_most=2.0),
    graded=Row(_VISITS, "noise growing to threefold, the fixed run as long as this noise takes", "at most 1.5", at_most=2.0),
    quieter=Row(_VISITS, "3 configurations alike, the fixed run as long as 1.5 times the noise takes", "below 1", at_most=1.2),
)  # fmt: skip
def adaptive_saving(rng: np.random.Generator) -> Outcome:
    """The cost of looking where the noise is known before, and the saving where it is not."""
    result = {}
    for name, spreads, feared in (
        ("alike", (0.008,) * 4, 1.0),
        ("graded", (0.005, 0.005, 0.01, 0.015), 1.0),
        ("quieter", (0.008,) * 4, 1.5),
    ):
        fixed = _fixed_blocks(Case(tuple(feared * spread for spread in spreads), workloads=1))
        result[name] = _run(rng, Case(spreads, workloads=1)).visits / (fixed * len(spreads))
    return result
