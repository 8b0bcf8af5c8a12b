"""The registry of simulations: estimator, conditions, and bounds of the outcome."""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Outcome = Mapping[str, "bool | float"]
"""The outcome of one simulated run by row: whether it held, or a figure. A row without an entry does not count the run."""


@dataclass(frozen=True)
class Row:
    """One row of the table: a share of runs, or the mean of a figure, with its bounds."""

    estimator: str
    conditions: str
    nominal: str  # what is promised, in words: "95 %", "at most 5 %"
    at_least: float | None = None
    at_most: float | None = None


def covers(estimator: str, conditions: str) -> Row:
    """A row of an interval of 95 %, which covers the truth in 93 to 99 % of the runs."""
    return Row(estimator, conditions, "95 %", 0.93, 0.99)


def rare(estimator: str, conditions: str, share: float = 0.05) -> Row:
    """A row of an error that is made in at most this share of the runs."""
    return Row(estimator, conditions, f"at most {100 * share:g} %", at_most=share)


def inside(truth: float, low: float | None, high: float | None) -> bool:
    """Whether an interval covers the truth. It must have ends."""
    assert low is not None
    assert high is not None
    return bool(low <= truth <= high)


@dataclass(frozen=True)
class Simulation:
    """`run` simulates one run from a random generator; its truth must share no code with the estimator."""

    name: str
    rows: Mapping[str, Row]
    run: Callable[[np.random.Generator], Outcome]
    short: int  # runs in the test suite
    long: int  # runs in the committed result

    def outcomes(self, number: int, first_seed: int = 0) -> list[Outcome]:
        """Run `number` runs, each seeded by its index, so that a single run can be repeated."""
        return [self.run(np.random.default_rng([first_seed + n, *self.name.encode()])) for n in range(number)]


@dataclass(frozen=True)
class Seen:
    """A row's result: `n` counted runs, and the share or mean over them (None: no run counted)."""

    n: int
    value: float | None
    is_share: bool

    def contradicts(self, row: Row) -> str | None:
        """Why chance does not explain the result; None if it does. A share is tested by the binomial distribution at 1 in 10,000."""
        if self.value is None:
            return "no run counted"
        if not self.is_share:
            return _outside(self.value, row.at_least, row.at_most)
        from scipy import stats

        hits = round(self.value * self.n)
        if row.at_least is not None and stats.binom.cdf(hits, self.n, row.at_least) < 1e-4:
            return f"{hits} of {self.n} held; at least {row.at_least:.1%} are promised"
        if row.at_most is not None and stats.binom.sf(hits - 1, self.n, row.at_most) < 1e-4:
            return f"{hits} of {self.n} held; at most {row.at_most:.1%} are promised"
        return None


def _outside(value: float, at_least: float | None, at_most: float | None) -> str | None:
    if at_least is not None and value < at_least:
        return f"{value:.4g} is below {at_least:g}"
    if at_most is not None and value > at_most:
        return f"{value:.4g} is above {at_most:g}"
    return None


_REGISTERED: dict[str, Simulation] = {}


def simulation(
    *, short: int, long: int, **rows: Row
) -> Callable[[Callable[[np.random.Generator], Outcome]], Simulation]:
    """Register a function of one run under its own name: `@simulation(short=200, long=5000, covered=Row(…))`."""

    return lambda run: register(Simulation(run.__name__, rows, run, short, long))


def register(simulation: Simulation) -> Simulation:
    """Add a simulation to the registry."""
    if simulation.name in _REGISTERED:
        raise ValueError(f"two simulations are called {simulation.name}")
    _REGISTERED[simulation.name] = simulation
    return simulation


def simulations() -> dict[str, Simulation]:
    """Import every module `sim_*.py` below tests/truth, and return all simulations."""
    import tests.truth

    for module in pkgutil.walk_packages(tests.truth.__path__, "tests.truth."):
        if module.name.rpartition(".")[2].startswith("sim_"):
            importlib.import_module(module.name)
    return dict(sorted(_REGISTERED.items()))


def outcomes_of(name: str, number: int, first_seed: int) -> list[Outcome]:
    """`Simulation.outcomes` for another process, by name."""
    return simulations()[name].outcomes(number, first_seed)


def seen(rows: Mapping[str, Row], outcomes: list[Outcome]) -> dict[str, Seen]:
    """Each row's share or mean. Raises KeyError for an outcome without a row."""
    found: dict[str, list[Any]] = {key: [] for key in rows}
    for outcome in outcomes:
        for key, value in outcome.items():
            found[key].append(value)
    result = {}
    for key, values in found.items():
        is_share = not values or isinstance(values[0], (bool, np.bool_))
        mean = math.fsum(map(float, values)) / len(values) if values else None
        result[key] = Seen(len(values), mean, is_share)
    return result
