"""Net joules: a window's joules less the idle power around it, and their uncertainty.

Idle power is measured before and after a load, and interpolated in time between the two. That has three errors, whose sizes are
estimated from the measurements of a whole run:

    meter    each measurement has the uncertainty of its joules
    flicker  power fluctuates, so that a mean over l seconds has the variance flicker / l: estimated from the differences between
             the halves of one measurement
    drift    between the measurements power departs from the line: a random walk with variance drift * T after T seconds (square
             watts) departs from it by at most a third of a standard deviation on average; estimated from the changes from
             before to after

A steady rise lies on the line, and an exponential one within the interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from base.distributions import t_quantile
from energy.records import IdleWindow, WindowEnergy
from energy.window import same_meters

_EDGES = 12.0  # the halves share an edge: their difference has 12 times the meter's variance of the whole


@dataclass(frozen=True)
class IdleSpread:
    """How much idle power varies, estimated from `pairs` changes from before to after a load."""

    flicker: float  # square watts x seconds
    drift: float  # square watts / second
    pairs: int

    @property
    def quantile(self) -> float:
        """Half-width of a 95 % interval in standard deviations that were estimated from `pairs` differences."""
        return t_quantile(0.975, self.pairs)


@dataclass(frozen=True)
class _Level:
    """Idle power over one measurement, watts at its middle."""

    watts: float
    middle_s: float
    seconds: float
    meter: float  # variance of the watts

    @classmethod
    def of(cls, idle: IdleWindow | None) -> _Level | None:
        """None for a measurement that is missing or has no joules."""
        if idle is None or idle.whole.gross_joules is None:
            return None
        whole = idle.whole
        seconds = (whole.end_ns - whole.start_ns) / 1e9
        joules = idle.whole.gross_joules
        half = (whole.gross_joules_uncertainty or 0.0) / seconds
        middle = (whole.start_ns + whole.end_ns) / 2e9
        return cls(joules / seconds, middle, seconds, (half / 1.96) ** 2)

    def variance(self, spread: IdleSpread) -> float:
        """Of `watts`, as an estimate of the power at the middle."""
        return self.meter + spread.flicker / self.seconds + spread.drift * self.seconds / 12


def idle_spread(measured: Sequence[tuple[IdleWindow, IdleWindow | None]]) -> IdleSpread | None:
    """Estimate the spread from the measurements (before, after) of a run; None if no load has both."""
    found = [(_Level.of(before), _Level.of(after)) for before, after in measured]
    pairs = [(before, after) for before, after in found if before is not None and after is not None]
    if not pairs:
        return None
    flickers = [flicker for pair in measured for idle in pair if idle and (flicker := _flicker(idle)) is not None]
    flicker = max(0.0, math.fsum(flickers) / len(flickers)) if flickers else 0.0
    drifts = []
    for before, after in pairs:
        noise = before.meter + after.meter + flicker / before.seconds + flicker / after.seconds
        # Means over a stretch lie closer together than the power at its middle.
        apart_s = after.middle_s - before.middle_s - (before.seconds + after.seconds) / 6
        drifts.append(((after.watts - before.watts) ** 2 - noise) / apart_s)
    return IdleSpread(flicker, max(0.0, math.fsum(drifts) / len(drifts)), len(pairs))


def _flicker(idle: IdleWindow) -> float | None:
    """Flicker estimated from one measurement, square watts x seconds; negative if the meter's error explains more than all."""
    level, first = _Level.of(idle), idle.first_half_joules
    if level is None or first is None:
        return None
    apart = 2 * (level.watts * level.seconds - 2 * first) / level.seconds
    return (apart**2 - _EDGES * level.meter) * level.seconds / 4


def subtract_idle(
    energy: WindowEnergy, before: IdleWindow, after: IdleWindow | None, spread: IdleSpread | None
) -> WindowEnergy:
    """The same window with net joules, or with the reason why it has none. All times are of one clock.

    Without a measurement after the load, the one before is used alone, with a wider interval.
    """
    first, last = _Level.of(before), _Level.of(after)
    reason = None
    if energy.gross_joules is None:
        return energy
    if first is None:
        reason = f"idle power is not known: {before.whole.reason}"
    elif spread is None:
        reason = "idle power was measured before the load alone, so that its drift is not known"
    elif not same_meters(energy, before.whole):
        reason = "idle power was measured with other meters"
    if reason is not None or first is None or spread is None:
        return energy.model_copy(update={"net_joules": None, "net_reason": reason})
    seconds = (energy.end_ns - energy.start_ns) / 1e9
    start_s = energy.start_ns / 1e9 - first.middle_s
    flicker = spread.flicker / seconds
    if last is None:
        watts, meter = first.watts, first.meter
        variance = first.variance(spread) - meter + flicker + spread.drift * (start_s + seconds / 3)
    else:
        apart_s = last.middle_s - first.middle_s
        share = (start_s + seconds / 2) / apart_s
        watts = first.watts + share * (last.watts - first.watts)
        meter = (1 - share) ** 2 * first.meter + share**2 * last.meter
        ends = (1 - share) ** 2 * first.variance(spread) + share**2 * last.variance(spread)
        off_the_line = spread.drift * max(0.0, start_s + seconds / 3 - share**2 * apart_s)
        variance = ends - meter + flicker + off_the_line
    half_width = math.hypot(1.96 * math.sqrt(meter), spread.quantile * math.sqrt(variance))
    return energy.model_copy(
        update={
            "net_joules": energy.gross_joules - watts * seconds,
            "net_joules_uncertainty": math.hypot(energy.gross_joules_uncertainty or 0.0, seconds * half_width),
            "net_reason": None,
            "idle_watts": watts,
        }
    )
