"""Power over time, for plots: mean watts per step, from the curve that joules are taken from; and power by clock.

Steps are equal and at least as long as the meter's own, so that for every meter the area under them is the energy.
"""

from __future__ import annotations

import numpy as np

from base.records import Record
from energy.curve import NoEnergy, curve_of
from energy.records import EnergyTrace, MeterPower, MeterTrace, PowerTimeline, WindowEnergy

SHORTEST_STEP_S = 0.1
_AROUND_NS = 500_000_000  # averaged on each side of a clock reading; the clock is read once a second
MOST_STEPS = 1200  # as many as a plot shows; keeps a trial's file near 10 kB a meter


def power_timeline(trace: EnergyTrace, start_ns: int, end_ns: int, *, offset_ns: int = 0) -> PowerTimeline:
    """Every meter's power between two moments of its machine's clock, which is `offset_ns` ahead of the result's.

    A meter without data between them is left out; `WindowEnergy` has the reason.
    """
    found = [_meter_power(meter, start_ns, end_ns, offset_ns) for meter in trace.meters]
    return PowerTimeline(meters=[power for power in found if power is not None])


def _meter_power(trace: MeterTrace, start_ns: int, end_ns: int, offset_ns: int) -> MeterPower | None:
    try:
        curve = curve_of(trace)
    except NoEnergy:
        return None
    start = max((start_ns - curve.origin_ns) / 1e9, float(curve.seconds[0]))
    end = min((end_ns - curve.origin_ns) / 1e9, float(curve.seconds[-1]))
    own = float(np.median(np.diff(curve.seconds)))
    step = max(SHORTEST_STEP_S, own, (end - start) / MOST_STEPS)
    steps = int((end - start) / step)
    if steps < 1:
        return None
    joules = np.interp(start + step * np.arange(steps + 1), curve.seconds, curve.joules)
    return MeterPower(
        info=trace.info,
        start_ns=curve.origin_ns + round(start * 1e9) - offset_ns,
        step_ns=round(step * 1e9),
        watts=[float(f"{watts:.4g}") for watts in np.diff(joules) / step],
    )


class ClockPower(Record):
    """Mean power of one GPU while its SM clock was read as this."""

    device: str
    sm_clock_mhz: int
    seconds: int  # in which the clock was read, once in each
    mean_watts: float


def power_at_clocks(power: PowerTimeline, energy: WindowEnergy) -> list[ClockPower]:
    """Over a window, by GPU and rising clock; power is the mean of the second around each reading. None of it without clocks."""
    watts: dict[tuple[str, int], list[float]] = {}
    meters = {meter.info.device: meter for meter in power.meters if meter.info.measured}
    for one in energy.conditions:
        meter = meters.get(one.device)
        if meter is None or one.sm_clock_mhz is None:
            continue
        middles = meter.start_ns + meter.step_ns * np.arange(len(meter.watts)) + meter.step_ns // 2
        around = max(one.at_ns - _AROUND_NS, energy.start_ns), min(one.at_ns + _AROUND_NS, energy.end_ns)
        first, end = np.searchsorted(middles, around)
        if end > first:
            watts.setdefault((one.device, one.sm_clock_mhz), []).append(float(np.mean(meter.watts[first:end])))
    return [
        ClockPower(device=device, sm_clock_mhz=clock, seconds=len(found), mean_watts=float(np.mean(found)))
        for (device, clock), found in sorted(watts.items())
    ]
