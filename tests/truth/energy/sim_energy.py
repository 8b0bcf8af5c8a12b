"""Joules: meters of a power whose integral is known in closed form, and net joules with drifting idle power.

`energy/` computes only what is under test: joules over a window from readings, and the subtraction of idle power.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

from energy.idle import idle_spread, subtract_idle
from energy.meters.base import Reading
from energy.meters.rapl import RaplMeter
from energy.records import EnergyTrace, IdleWindow, MeterEnergy, MeterInfo, WindowEnergy
from energy.track import Track
from energy.window import window_energy
from reports.statistics.ratios import compare
from tests.truth.registry import Outcome, Row, covers, inside, simulation

# --- gross joules of a window


@dataclass(frozen=True)
class _Power:
    """Power levels that last from 0.1 s to seconds, with a ripple; `joules` is the exact integral from 0."""

    edges: np.ndarray
    levels: np.ndarray
    ripple: float
    pulse: float  # radians / second
    phase: float

    @classmethod
    def drawn(cls, rng: np.random.Generator, seconds: float) -> _Power:
        lengths = rng.choice([0.1, 0.5, 2.0], 400) * rng.uniform(0.5, 1.5, 400)
        edges = np.concatenate(([0.0], np.cumsum(lengths)))
        edges = edges[edges < seconds]
        levels = rng.uniform(100, 600, len(edges))
        return cls(edges, levels, float(rng.uniform(0, 40)), float(rng.uniform(1, 60)), float(rng.uniform(0, 6)))

    def joules(self, at: float) -> float:
        at = max(at, 0.0)
        spent = np.clip(at - self.edges, 0.0, np.append(np.diff(self.edges), np.inf))
        waves = math.cos(self.phase) - math.cos(self.pulse * at + self.phase)
        return float(spent @ self.levels) + self.ripple / self.pulse * waves

    def mean(self, start: float, end: float) -> float:
        return (self.joules(end) - self.joules(start)) / (end - start)


_SECONDS, _EVERY_S, _READ_NS = 40.0, 0.05, 50_000


def _last(at: float, step: float, phase: float) -> float:
    return math.floor((at - phase) / step) * step + phase


def _reads(rng: np.random.Generator) -> list[float]:
    return (
        np.arange(0.05, _SECONDS, _EVERY_S) + rng.uniform(0, 0.01, math.ceil((_SECONDS - 0.05) / _EVERY_S))
    ).tolist()


def _holds(rng: np.random.Generator, power: _Power, info: MeterInfo, readings: list[Reading]) -> Outcome:
    """Whether a random window's interval covers the integral."""
    track = Track(info, 10_000)
    for reading in readings:
        track.append(reading)
    start, end = float(rng.uniform(3, 8)), float(rng.uniform(25, 37))
    trace = EnergyTrace(now_ns=0, meters=[track.since(0)], conditions=[], missing=[])
    found = window_energy(trace, round(start * 1e9), round(end * 1e9))
    assert found.gross_joules is not None, found.reason
    truth = power.joules(end) - power.joules(start)
    half_width = found.gross_joules_uncertainty or 0.0
    return {"covered": abs(found.gross_joules - truth) <= half_width, "half_width": half_width / truth}


def _reading(at: float, *, joules: float | None = None, watts: float | None = None) -> Reading:
    return Reading(round(at * 1e9) - _READ_NS, round(at * 1e9) + _READ_NS, joules, watts)


def _gross(conditions: str) -> dict[str, Row]:
    return {
        "covered": Row("gross joules of a window", conditions, "at least 95 %, a bound for the oldest figures", 0.93),
        "half_width": Row("half-width of gross joules", conditions, "at most 5 %", at_most=0.05),
    }


@simulation(
    short=60, long=3000, **_gross("GPU counter that refreshes every 20 to 200 ms, by figures up to one refresh old")
)
def gross_counter(rng: np.random.Generator) -> Outcome:
    """A counter in whole millijoules."""
    power, refresh = _Power.drawn(rng, _SECONDS), float(rng.choice([0.02, 0.05, 0.1, 0.2]))
    phase = float(rng.uniform(0, refresh))
    ages = rng.uniform(0, refresh, math.ceil(_SECONDS / refresh) + 2)
    readings = []
    for at in _reads(rng):
        refreshed = _last(at, refresh, phase)
        shown = power.joules(refreshed - float(ages[round((refreshed - phase) / refresh) + 1]))
        readings.append(_reading(at, joules=math.floor(1e3 * shown) / 1e3))
    return _holds(rng, power, MeterInfo(source="nvml-counter", domain="gpu", device="GPU-0"), readings)


def _gross_power(rng: np.random.Generator, source: str, span_s: float) -> Outcome:
    """A meter of mean power over the last `span_s`, which it reports every 0.1 s."""
    power, phase = _Power.drawn(rng, _SECONDS), float(rng.uniform(0, 0.1))
    readings = []
    for at in _reads(rng):
        seen = _last(at, 0.1, phase)
        readings.append(_reading(at, watts=power.mean(seen - span_s, seen)))
    return _holds(rng, power, MeterInfo(source=source, domain="gpu", device="GPU-0"), readings)


@simulation(short=60, long=3000, **_gross("instant power, 0.1 s old at most, integrated"))
def gross_instant_power(rng: np.random.Generator) -> Outcome:
    """Means that follow one another."""
    return _gross_power(rng, "nvml-instant", 0.1)


@simulation(short=60, long=3000, **_gross("power averaged over one second, integrated"))
def gross_average_power(rng: np.random.Generator) -> Outcome:
    """Means that overlap."""
    return _gross_power(rng, "nvml-average", 1.0)


@simulation(short=6, long=800, **_gross("RAPL counter that wraps about three times in the window"))
def gross_rapl_wrap(rng: np.random.Generator) -> Outcome:
    """Microjoules that wrap to 0, refreshed every millisecond."""
    power = _Power.drawn(rng, _SECONDS)
    span = round(power.joules(_SECONDS) * 1e6 / 3.7)
    begun = int(rng.integers(span))
    clock = mock.Mock()
    with tempfile.TemporaryDirectory() as folder, mock.patch("energy.meters.rapl.time", mock.Mock(monotonic_ns=clock)):
        zone = Path(folder)
        (zone / "max_energy_range_uj").write_text(f"{span}")
        (zone / "energy_uj").write_text(f"{begun}")
        clock.return_value = 0
        meter = RaplMeter(zone, "package-0")
        readings = []
        for at in _reads(rng):
            (zone / "energy_uj").write_text(f"{(begun + round(1e6 * power.joules(_last(at, 1e-3, 0.0)))) % span}")
            clock.return_value = round(at * 1e9)
            readings.append(meter.read())
    return _holds(rng, power, meter.info, readings)


# --- net joules

_BLOCKS, _VISIT_S = 5, 100.0
_BEFORE, _LOAD, _AFTER = (10.0, 16.0), (17.0, 79.0), (85.0, 91.0)  # within a visit, seconds
_STEP_S = 0.1
_GPU = MeterInfo(source="nvml-counter", domain="gpu", device="GPU-0", refresh_s=0.1)
_EDGE_J = 2.5  # standard deviation of the meter's error at an edge: 80 W and 0.1 s of refresh


class _Idle:
    """A run's idle power in steps of 0.1 s, initially 80 W, and a meter with an error at every reading."""

    def __init__(
        self, rng: np.random.Generator, drift: Callable[[np.random.Generator, np.ndarray], np.ndarray]
    ) -> None:
        at = np.arange(0.0, 2 * _BLOCKS * _VISIT_S + _STEP_S, _STEP_S)
        self._integral = np.concatenate(([0.0], np.cumsum((80.0 + drift(rng, at)) * _STEP_S)))
        self._rng = rng

    def joules(self, start: float, end: float) -> float:
        first, last = round(start / _STEP_S), round(end / _STEP_S)
        return float(self._integral[last] - self._integral[first])

    def window(self, start: float, end: float, load: float = 0.0) -> WindowEnergy:
        return self._metered(start, end, load, self._rng.normal(0, _EDGE_J, 2))

    def measured(self, start: float, end: float) -> IdleWindow:
        errors = self._rng.normal(0, _EDGE_J, 3)
        half = self.joules(start, (start + end) / 2) + errors[1] - errors[0]
        return IdleWindow(whole=self._metered(start, end, 0.0, errors[[0, 2]]), first_half_joules=half)

    def _metered(self, start: float, end: float, load: float, errors: np.ndarray) -> WindowEnergy:
        joules = self.joules(start, end) + load + float(errors[1] - errors[0])
        return WindowEnergy(
            start_ns=round(start * 1e9),
            end_ns=round(end * 1e9),
            gross_joules=joules,
            gross_joules_uncertainty=1.96 * math.sqrt(2) * _EDGE_J,
            parts=[MeterEnergy(info=_GPU, joules=joules)],
        )


def _net(rng: np.random.Generator, drift: Callable[[np.random.Generator, np.ndarray], np.ndarray]) -> Outcome:
    """One run of two configurations in alternating order: one trial's net joules, and the ratio of net joules."""
    idle, ratio = _Idle(rng, drift), math.exp(rng.normal(0, 0.2))
    loads: dict[tuple[int, int], float] = {}  # what each trial really took beyond idle, by configuration and block
    visits = {}
    for place in range(2 * _BLOCKS):
        block, turn = divmod(place, 2)
        cell = ((turn + block) % 2, block)
        loads[cell] = 6000.0 * (ratio if cell[0] else 1.0) * math.exp(rng.normal(0, 0.005))
        begun = place * _VISIT_S
        before, after = (idle.measured(begun + start, begun + end) for start, end in (_BEFORE, _AFTER))
        visits[cell] = (idle.window(begun + _LOAD[0], begun + _LOAD[1], loads[cell]), before, after)
    spread = idle_spread([(before, after) for _, before, after in visits.values()])
    found = {cell: subtract_idle(*measured, spread) for cell, measured in visits.items()}
    alone = (int(rng.integers(2)), int(rng.integers(_BLOCKS)))
    first = subtract_idle(visits[alone][0], visits[alone][1], None, spread)
    nets = [{b: found[c, b].net_joules or math.nan for b in range(_BLOCKS)} for c in (0, 1)]
    compared = compare(nets[1], nets[0], "lower")

    def holds(energy: WindowEnergy) -> bool:
        assert energy.net_joules is not None
        return abs(energy.net_joules - loads[alone]) <= (energy.net_joules_uncertainty or 0.0)

    return {
        "trial": holds(found[alone]),
        "cut_short": holds(first),
        "ratio": inside(ratio, compared.low, compared.high),
        "half_width": (found[alone].net_joules_uncertainty or 0.0) / 6000,
    }


def _rows(conditions: str, nominal: str = "95 %", at_most: float | None = 0.99) -> dict[str, Row]:
    return {
        "trial": Row("net joules of a trial", conditions, nominal, 0.93, at_most),
        "cut_short": Row("net joules of a trial, no idle power after it", conditions, nominal, 0.93, at_most),
        "ratio": covers("ratio of net joules to the baseline", conditions),
        "half_width": Row("half-width of a trial's net joules", conditions, "at most 10 %", at_most=0.1),
    }


@simulation(short=150, long=5000, **_rows("idle power walks by 1.5 W in a visit of 100 s"))
def net_walk(rng: np.random.Generator) -> Outcome:
    """A random walk."""
    return _net(rng, lambda rng, at: np.cumsum(rng.normal(0, 0.15 * math.sqrt(_STEP_S), len(at))))


@simulation(short=150, long=5000, **_rows("idle power rises by 2 % a block"))
def net_linear(rng: np.random.Generator) -> Outcome:
    """A straight line, up or down."""
    return _net(rng, lambda rng, at: rng.choice([-1.6, 1.6]) * at / (2 * _VISIT_S))


@simulation(short=150, long=5000, **_rows("idle power flickers: means of 6 s scatter by 1 W"))
def net_flicker(rng: np.random.Generator) -> Outcome:
    """White noise, as from other processes on the machine."""
    return _net(rng, lambda rng, at: rng.normal(0, math.sqrt(6 / _STEP_S), len(at)))


@simulation(short=150, long=5000, **_rows("all three: a walk, a rise and flicker"))
def net_all(rng: np.random.Generator) -> Outcome:
    """All of them, each at half its size."""
    return _net(
        rng,
        lambda rng, at: (
            np.cumsum(rng.normal(0, 0.075 * math.sqrt(_STEP_S), len(at)))
            + 0.8 * at / (2 * _VISIT_S)
            + rng.normal(0, math.sqrt(1.5 / _STEP_S), len(at))
        ),
    )


@simulation(
    short=150,
    long=5000,
    **_rows("idle power is 3 W more after each load, most of it within 20 s", "at least 95 %", None),
)
def net_heat(rng: np.random.Generator) -> Outcome:
    """Each load heats the machine and raises its leakage: a curve that no straight line fits."""

    def heated(_: np.random.Generator, at: np.ndarray) -> np.ndarray:
        since = at % _VISIT_S - _LOAD[0]
        return np.where(since > 0, 3 * (1 - np.exp(-since / 20)), 0.0)

    return _net(rng, heated)
