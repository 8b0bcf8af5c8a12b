"""What a wall meter says beside the headline: it contains what the other meters measure, and is never added to them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from base.records import Record
from energy.records import MeterPower, PowerTimeline, WindowEnergy
from energy.window import choose_headline

_WITHIN = ("gpu", "cpu-package", "dram")  # parts of the machine that meters cover without overlap
_STEP_S, _EARLIEST_S, _LATEST_S = 0.1, -5.0, 30.0  # of delays that are looked for
_LEAST_S = 20.0  # of power that both have, and half of it at any delay
_SMOOTHED_S = 1.0  # no wall meter shows shorter changes
_VARIES, _AGREES = 0.05, 0.8  # least deviation of power over its mean, least correlation of both
_NOTED_S = 0.5  # a delay below is within what a meter that is asked twice a second can show


class WallEnergy(Record):
    """Joules of the whole machine at the wall over a window. Uncertainties are half-widths of 95 % intervals."""

    joules: float | None
    joules_uncertainty: float | None = None
    reason: str | None = None  # why there are none
    over_gross: float | None = None  # over the headline's joules
    over_gross_uncertainty: float | None = None
    over_gross_reason: str | None = None
    rest_joules: float | None = None  # of what no other meter here covers: fans, supply, and parts without a meter
    covered: tuple[str, ...] = ()  # by other meters
    delay_s: float | None = None  # of its power behind the headline's, beyond the stated lag; None: unknown


def wall_energy(energy: WindowEnergy, power: PowerTimeline | None = None) -> WallEnergy | None:
    """The sum of the wall meters; None if there is none. Two of them are the two supplies of one machine.

    `power`: of the load around the window, from which the delay is estimated.
    """
    parts = [p for p in energy.parts if p.info.domain == "wall" and p.copy_of is None]
    gone = [m for m in energy.missing if m.domain == "wall"]
    if not parts and not gone:
        return None
    reasons = [f"{p.info.device}: {p.reason}" for p in parts if p.joules is None] + [m.reason for m in gone]
    if power is not None:
        reasons += [f"{device}: its power stood still while the load's changed" for device in _frozen(power)]
    if reasons:
        return WallEnergy(joules=None, reason="; ".join(reasons))
    joules = math.fsum(p.joules or 0.0 for p in parts)
    half = math.hypot(*(p.uncertainty_joules or 0.0 for p in parts))
    delay_s = None if power is None else wall_delay(power)
    if delay_s is not None and abs(delay_s) > _NOTED_S:  # power of as long lies on the wrong side of each edge
        half += abs(delay_s) * joules / ((energy.end_ns - energy.start_ns) / 1e9)
    within = [p for p in energy.parts if p.info.domain in _WITHIN and p.copy_of is None and p.joules is not None]
    found = WallEnergy(
        joules=joules,
        joules_uncertainty=half,
        rest_joules=joules - math.fsum(p.joules or 0.0 for p in within),
        covered=tuple(sorted({p.info.domain for p in within})),
        delay_s=delay_s,
    )
    gross = energy.gross_joules
    if any(p.info.simulated for p in energy.parts):
        return found.model_copy(update={"over_gross_reason": "the headline is simulated, and the wall is not"})
    if not gross or not joules:
        return found.model_copy(update={"over_gross_reason": energy.reason or "the joules are 0"})
    ratio = joules / gross
    relative = math.hypot(half / joules, (energy.gross_joules_uncertainty or 0.0) / gross)
    return found.model_copy(update={"over_gross": ratio, "over_gross_uncertainty": ratio * relative})


def wall_delay(power: PowerTimeline) -> float | None:
    """How much later the wall shows what the headline's power does, in seconds: where both agree most.

    None if power is too steady or was recorded too briefly to estimate it, or if they do not agree at any delay.
    """
    own, wall, grid = _compared(power)
    if len(grid) <= _LEAST_S / _STEP_S:
        return None
    cause, effect = _watts(own, grid), _watts(wall, grid)
    if cause.std() < _VARIES * abs(cause.mean()):
        return None
    steps = range(round(_EARLIEST_S / _STEP_S), round(_LATEST_S / _STEP_S) + 1)
    found = {step: _agreement(cause, effect, step) for step in steps if abs(step) <= len(cause) / 2}
    best = max(found, key=lambda step: found[step])
    return best * _STEP_S if found[best] >= _AGREES else None


def _frozen(power: PowerTimeline) -> list[str]:
    """Wall meters that showed one figure throughout, while the headline's power changed by a share of that figure."""
    own, wall, grid = _compared(power)
    if len(grid) <= _LEAST_S / _STEP_S or any(meter.info.simulated for meter in own):
        return []
    changed = _watts(own, grid).std()
    return [m.info.device for m in wall if len(set(m.watts)) == 1 and changed >= _VARIES * m.watts[0]]


def _compared(power: PowerTimeline) -> tuple[list[MeterPower], list[MeterPower], NDArray[np.float64]]:
    """The headline's meters, those at the wall, and steps of the time that all have; no steps without either."""
    headline, _ = choose_headline([meter.info for meter in power.meters], [])
    wall = [meter for meter in power.meters if meter.info.domain == "wall"]
    own = [meter for meter in power.meters if meter.info in headline]
    if not wall or not own:
        return own, wall, np.empty(0)
    start = max(meter.start_ns for meter in [*wall, *own])
    end = min(meter.start_ns + len(meter.watts) * meter.step_ns for meter in [*wall, *own])
    return own, wall, np.arange(start, end, _STEP_S * 1e9, dtype=np.float64)


def _watts(meters: Sequence[MeterPower], grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean power of all over a second from each step of the grid on."""
    joules = np.zeros(len(grid))
    for meter in meters:
        times = meter.start_ns + meter.step_ns * np.arange(len(meter.watts) + 1)
        joules += np.interp(grid, times, np.concatenate(([0.0], np.cumsum(meter.watts))) * meter.step_ns / 1e9)
    over = round(_SMOOTHED_S / _STEP_S)
    return (joules[over:] - joules[:-over]) / _SMOOTHED_S


def _agreement(cause: NDArray[np.float64], effect: NDArray[np.float64], step: int) -> float:
    """Their correlation, the effect `step` later; -1 where one of them is constant."""
    first, then = (cause[: len(cause) - step], effect[step:]) if step >= 0 else (cause[-step:], effect[:step])
    if not first.std() or not then.std():
        return -1.0
    return float(np.corrcoef(first, then)[0, 1])


def wall_words(wall: WallEnergy) -> str:
    """One sentence for people."""
    if wall.joules is None:
        return f"at the wall: no joules: {wall.reason}"
    words = (
        f"at the wall {wall.joules:.1f} J \N{PLUS-MINUS SIGN} {wall.joules_uncertainty or 0:.1f} J, all of the machine"
    )
    if wall.over_gross is not None:
        words += f": {wall.over_gross:.2f} \N{PLUS-MINUS SIGN} {wall.over_gross_uncertainty:.2f} times the joules above"
    if wall.delay_s is not None and abs(wall.delay_s) > _NOTED_S:
        late, longer = ("behind", "longer") if wall.delay_s > 0 else ("ahead of", "shorter")
        by = abs(wall.delay_s)
        words += f"; its power comes {by:.1f} s {late} the load's: state a lag that is {2 * by:.1f} s {longer}"
    if wall.covered:
        words += f"; {wall.rest_joules:.1f} J of it are of parts that no meter of {', '.join(wall.covered)} covers"
    return words
