"""Meters over power curves whose integral is known: pure arithmetic, no clock and no thread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from energy.meters.base import Reading
from energy.records import EnergyTrace, MeterInfo, MeterTrace, MissingMeter
from energy.track import Track

ORIGIN_NS = 7_000_000_000_000  # a machine that has been up for two hours


@dataclass(frozen=True)
class Truth:
    """Power as straight lines between `seconds`; `scale` multiplies it."""

    seconds: np.ndarray
    watts: np.ndarray
    scale: float = 1.0

    def power(self, at: np.ndarray | float) -> np.ndarray:
        return self.scale * np.interp(at, self.seconds, self.watts)

    def joules(self, at: np.ndarray | float) -> np.ndarray:
        grid = np.linspace(self.seconds[0], self.seconds[-1], 200_001)
        power = self.power(grid)
        cumulative = np.concatenate(([0.0], np.cumsum((power[1:] + power[:-1]) / 2 * np.diff(grid))))
        return np.interp(at, grid, cumulative)

    def between(self, start_s: float, end_s: float) -> float:
        return float(self.joules(end_s) - self.joules(start_s))


def steady(watts: float, seconds: float = 100.0) -> Truth:
    return Truth(np.array([0.0, seconds]), np.array([watts, watts]))


def load_like(seed: int, seconds: float = 40.0) -> Truth:
    """Idle, then levels that last from 20 ms to seconds with steep flanks, as batches that come and go."""
    random = np.random.default_rng(seed)
    lengths = random.choice([0.02, 0.1, 0.5, 2.0], 2_000) * random.uniform(0.5, 1.5, 2_000)
    edges = np.cumsum(lengths)
    edges = edges[edges < seconds - 0.01]
    levels = random.uniform(60, 700, len(edges) + 1)
    at = np.concatenate(([0.0], np.repeat(edges, 2), [seconds]))
    at[2::2] += 0.005
    return Truth(at, np.repeat(levels, 2))


@dataclass(frozen=True)
class Board:
    """One simulated meter. `refresh_s` 0: the counter is always up to date."""

    source: str = "nvml-counter"
    refresh_s: float = 0.1
    phase_s: float = 0.0
    lag_s: float = 0.0  # how old the figure is that a refresh shows
    average_s: float = 0.0  # over how long the reported power is averaged
    interval_s: float = 0.05
    jitter_s: float = 0.0
    silences: tuple[tuple[float, float], ...] = ()  # from, to: no reading
    counter_scale: float = 1.0
    device: str = "GPU-0000"
    reports_power: bool = True
    seed: int = 0

    def watch(self, truth: Truth, seconds: float | None = None) -> MeterTrace:
        """Read from 0 s on, as the sampler does."""
        random = np.random.default_rng(self.seed)
        at = np.arange(0.0, seconds or truth.seconds[-1], self.interval_s)
        at = at + random.uniform(0, self.jitter_s, len(at)) + 1e-4
        for start, end in self.silences:
            at = at[(at < start) | (at > end)]
        seen = np.floor((at - self.phase_s) / self.refresh_s) * self.refresh_s + self.phase_s if self.refresh_s else at
        joules = np.floor(truth.joules(np.maximum(seen - self.lag_s, 0.0)) * self.counter_scale * 1e3) / 1e3
        watts = truth.power(at)
        if self.average_s:
            watts = (truth.joules(at) - truth.joules(np.maximum(at - self.average_s, 0.0))) / self.average_s
        domain = "gpu" if self.source.startswith("nvml") else "synthetic"
        exact = 0.0 if domain == "synthetic" else None  # as the synthetic engine states it; GPUs state none
        track = Track(MeterInfo(source=self.source, domain=domain, device=self.device, refresh_s=exact), 100_000)
        for t, j, w in zip(at, joules, watts, strict=True):
            ns = moment(t)
            power = float(w) if self.reports_power else None
            counts = self.source in {"nvml-counter", "synthetic"}
            track.append(Reading(ns - 50_000, ns + 50_000, float(j) if counts else None, power))
        return track.since(0)


def moment(seconds: float) -> int:
    return ORIGIN_NS + round(seconds * 1e9)


def trace_of(*meters: MeterTrace, missing: tuple[MissingMeter, ...] = ()) -> EnergyTrace:
    return EnergyTrace(now_ns=0, meters=list(meters), conditions=[], missing=list(missing))
