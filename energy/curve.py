"""Cumulative energy as a function of time, from the samples of one meter.

A counter that refreshes more slowly than it is read is constant between refreshes: only the reads at which it had moved carry
information, and the move lies between that read and the one before (at most one refresh interval before). Those reads are the
knots; between them energy is a straight line. Any other meter has a knot at every read. A window's energy is the difference of
this one function at its edges, so adjacent windows add up to their union.

The standard deviation at an edge has two terms, both of a uniform error (width / sqrt(12)):

    age     P * a   age of the figure: one refresh interval, the duration of the read, the extrapolated stretch, and any gap
                    between knots longer than usual; P is the highest power around the edge. For two edges of a counter at
                    steady power that is 0.41 * P * refresh.
    change  D * h   power changed by D, seen in the neighbouring intervals, at an unknown moment in the h seconds between knots

An edge on another machine's clock has a third term, P times the width of that clock's error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from energy.records import MeterTrace

Floats = NDArray[np.float64]

SENSOR_REFRESH_S = 0.1  # of reported power; some boards sample only a part of it (arXiv 2312.02741)
LONGEST_GAP_S = 1.0  # power that was not read for longer cannot be integrated
GAP_FACTOR = 3.0  # a gap is a knot interval longer than this multiple of the median


class NoEnergy(Exception):  # noqa: N818 - a result; the message is the reason that users read
    """The samples do not determine the energy of the window."""


@dataclass(frozen=True)
class EnergyCurve:
    """Knots as seconds since `origin_ns` and joules, in time order, and the parameters of the error at the edges."""

    origin_ns: int
    seconds: Floats
    joules: Floats
    age_s: float
    beyond_s: float  # how far past the last knot the curve may be extrapolated

    def at(self, ns: int) -> float:
        """Joules at a moment. Raises NoEnergy outside the samples."""
        s = self._seconds_at(ns)
        past = s - float(self.seconds[-1])
        if past <= 0:
            return float(np.interp(s, self.seconds, self.joules))
        recent = max(0, len(self.seconds) - 5)
        span = float(self.seconds[-1] - self.seconds[recent])
        return float(self.joules[-1]) + past * float(self.joules[-1] - self.joules[recent]) / span

    def variance_at(self, ns: int, clock_error_s: float = 0.0) -> float:
        """Variance of `at`, in square joules, for a moment that is known to within ±`clock_error_s`."""
        s = self._seconds_at(ns)
        lengths = np.diff(self.seconds)
        own = int(np.clip(np.searchsorted(self.seconds, s, side="right") - 1, 0, len(lengths) - 1))
        around = slice(max(0, own - 1), own + 2)
        power = np.diff(self.joules)[around] / lengths[around]
        past = max(0.0, s - float(self.seconds[-1]))
        length = float(lengths[own])
        usual = float(np.median(lengths))
        gap = length if length > GAP_FACTOR * usual else 0.0
        age = float(power.max()) * (self.age_s + past + gap)
        change = float(power.max() - power.min()) * (length + past)
        clock = float(power.max()) * 2 * clock_error_s
        return (age**2 + change**2 + clock**2) / 12

    def _seconds_at(self, ns: int) -> float:
        s = (ns - self.origin_ns) / 1e9
        if s < self.seconds[0]:
            raise NoEnergy(f"the window starts {self.seconds[0] - s:.3g} s before the meter's first usable reading")
        if s > self.seconds[-1] + self.beyond_s:
            raise NoEnergy(f"the window ends {s - self.seconds[-1]:.3g} s after the meter's last usable reading")
        return s


def curve_of(trace: MeterTrace) -> EnergyCurve:
    """The curve of one meter's samples. Raises NoEnergy if there are too few."""
    if len(trace.joules) < 2:
        raise NoEnergy(trace.reason or "the meter took fewer than two readings")
    before, after = np.array(trace.before_ns), np.array(trace.after_ns)
    origin = int(before[0])
    reads = ((before - origin) + (after - origin)) / 2e9
    joules = np.array(trace.joules)
    gaps = np.diff(reads)
    interval = float(np.median(gaps))
    info = trace.info
    # A counter whose refresh interval has not been observed yet is assumed to refresh once a read at most.
    refresh = info.refresh_s if info.refresh_s is not None else interval if info.kind == "counter" else 0.0
    if info.kind == "power":
        seconds = reads - info.lag_s / 2
    elif info.kind == "samples":
        seconds = reads
    elif refresh > interval / 2:
        moved = np.flatnonzero(np.diff(joules) > 0) + 1
        if len(moved) < 2:
            raise NoEnergy(trace.reason or "the counter moved fewer than two times")
        seconds, joules = reads[moved] - np.minimum(refresh, gaps[moved - 1]) / 2, joules[moved]
    else:
        seconds = reads - refresh / 2
    return EnergyCurve(
        origin_ns=origin,
        seconds=seconds,
        joules=joules,
        age_s=(refresh if info.kind == "counter" else info.lag_s) + float(np.median(after - before)) / 1e9,
        # A failed meter is not extrapolated: nothing is known of the time after its last reading.
        beyond_s=0.0 if trace.reason else max(refresh, info.lag_s) + 2 * interval,
    )


@dataclass(frozen=True)
class ReportedPower:
    """The integral of a device's reported power over a window, and its variance, from changes between samples."""

    joules: float
    variance: float


def integrate_power(trace: MeterTrace, start_ns: int, end_ns: int) -> ReportedPower:
    """Trapezoids over the reported watts. A change of D between reads h apart happened at an unknown moment: D*h/sqrt(12).

    Raises NoEnergy if power was not read throughout the window.
    """
    rows = [
        ((b + a) / 2 - start_ns, w)
        for b, a, w in zip(trace.before_ns, trace.after_ns, trace.watts, strict=True)
        if w is not None
    ]
    if len(rows) < 2:
        raise NoEnergy("power was not reported")
    seconds = np.array([s for s, _ in rows]) / 1e9
    watts = np.array([w for _, w in rows])
    duration = (end_ns - start_ns) / 1e9
    gaps = np.diff(seconds)
    longest = max(LONGEST_GAP_S, 5 * float(np.median(gaps)))
    inside = (seconds[1:] > 0) & (seconds[:-1] < duration)
    gap = max(float(gaps[inside].max(initial=0.0)), float(seconds[0]), duration - float(seconds[-1]))
    if gap > longest:
        raise NoEnergy(f"power was not read for {gap:.3g} s")
    grid = np.concatenate(([0.0], seconds[(seconds > 0) & (seconds < duration)], [duration]))
    # Polled power shows a change up to one sensor refresh late, however short the polling interval.
    polled = trace.info.kind != "samples" and not trace.info.simulated
    within = np.maximum(gaps, SENSOR_REFRESH_S if polled else 0.0)
    variance = float(np.sum((np.diff(watts)[inside] * within[inside]) ** 2)) / 12
    return ReportedPower(float(np.trapezoid(np.interp(grid, seconds, watts), grid)), variance)


def half_width(variance: float) -> float:
    """Half-width of the 95 % interval of a normal figure with that variance."""
    return 1.96 * math.sqrt(variance)


def is_integrated(trace: MeterTrace) -> bool:
    """Whether the joules of this trace are themselves integrated power."""
    return trace.info.kind != "counter"
