"""Joules over a window: `window_energy` cuts a trace to a load's own edges, docs/explanation/energy.md is the contract.

The headline is the sum over all GPUs; without a GPU, CPU packages and DRAM; with the synthetic engine, its own curve, since
its load causes no other energy. If any part of the headline is missing, it is None.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from base.figures import percent
from energy.curve import NoEnergy, curve_of, half_width, integrate_power, is_integrated
from energy.meters.copies import find_copies
from energy.records import EnergyTrace, MeterEnergy, MeterInfo, MeterTrace, MissingMeter, WindowEnergy

SUSPECT = 0.05  # counter and integrated power further apart than this cannot both be right
COMPARABLE_S = 10.0  # shorter windows are dominated by the delay of reported power
HEADLINE_DOMAINS = (frozenset({"gpu"}), frozenset({"cpu-package", "dram"}))  # the first that is present is summed


def window_energy(
    trace: EnergyTrace, start_ns: int, end_ns: int, *, idle: WindowEnergy | None = None, clock_error_s: float = 0.0
) -> WindowEnergy:
    """Energy between two moments of the metered machine's monotonic clock.

    idle: the same meters over a window with the model loaded and no requests; its mean power, times the duration, is
    subtracted for `net_joules`. clock_error_s: error of the two moments, ±, if they were read from another clock.
    Missing figures are None with a reason. Raises ValueError for an empty window.
    """
    if end_ns <= start_ns:
        raise ValueError(f"the window ends at {end_ns} ns, not after its start at {start_ns} ns")
    seconds = (end_ns - start_ns) / 1e9
    measured = [m for m in trace.meters if m.info.measured]
    copies = {own: measured[other].info.device for own, other in find_copies(measured).items()}
    parts = [
        meter_energy(m, start_ns, end_ns, clock_error_s).model_copy(update={"copy_of": copies.get(place)})
        for place, m in enumerate(measured)
    ]
    chosen, reasons = _headline(parts, trace.missing)
    gross = None if reasons else math.fsum(p.joules for p in chosen if p.joules is not None)
    uncertainty = None if gross is None else _in_quadrature(chosen)
    idle_watts, net_reason = _idle_power(chosen, idle)
    net = None if gross is None or idle_watts is None else gross - idle_watts * seconds
    modelled, basis, modelled_missing = _modelled(trace.meters, start_ns, end_ns)
    return WindowEnergy(
        start_ns=start_ns,
        end_ns=end_ns,
        gross_joules=gross,
        gross_joules_uncertainty=uncertainty,
        mean_watts=None if gross is None else gross / seconds,
        net_joules=net,
        net_joules_uncertainty=None
        if net is None
        else math.hypot(uncertainty or 0.0, seconds * _idle_uncertainty(idle)),
        net_reason=None if gross is None else net_reason,
        idle_watts=idle_watts,
        clock_error_s=clock_error_s,
        source="+".join(sorted({p.info.source for p in chosen})) or None,
        reason="; ".join(reasons) or None,
        modelled_joules=modelled,
        modelled_basis=basis,
        parts=parts,
        missing=[*trace.missing, *modelled_missing],
        conditions=[c for c in trace.conditions if start_ns <= c.at_ns <= end_ns],
    )


def meter_energy(trace: MeterTrace, start_ns: int, end_ns: int, clock_error_s: float = 0.0) -> MeterEnergy:
    """Energy of one meter over one window, with the half-width of its 95 % interval and its cross-check."""
    failed = sum(start_ns <= read.at_ns <= end_ns for read in trace.failed_reads)
    try:
        curve = curve_of(trace)
        joules = curve.at(end_ns) - curve.at(start_ns)
        variance = curve.variance_at(start_ns, clock_error_s) + curve.variance_at(end_ns, clock_error_s)
        if is_integrated(trace):
            variance += integrate_power(trace, start_ns, end_ns).variance
    except NoEnergy as none:
        why = str(none) if trace.reason in {None, str(none)} else f"{trace.reason}; {none}"
        return MeterEnergy(info=trace.info, joules=None, failed_reads=failed, reason=why)
    if joules <= 0 and trace.info.measured and not trace.info.simulated:
        why = "the counter did not move during the window"
        return MeterEnergy(info=trace.info, joules=None, failed_reads=failed, reason=why)
    uncertainty = half_width(variance)
    disagreement = _disagreement(trace, joules, start_ns, end_ns)
    reason: str | None = None
    if disagreement is not None and abs(disagreement) > SUSPECT:
        # Either may be right: the interval reaches from one to the other.
        uncertainty = max(uncertainty, abs(joules - joules / (1 + disagreement)))
        reason = f"suspect: the counter is {percent(disagreement, signed=True)} off the integral of the power the device reports"
    return MeterEnergy(
        info=trace.info,
        joules=joules,
        uncertainty_joules=uncertainty,
        mean_watts=joules / ((end_ns - start_ns) / 1e9),
        disagreement=disagreement,
        failed_reads=failed,
        longest_gap_s=_longest_gap(trace, start_ns, end_ns),
        stood_still_s=_stood_still(trace, start_ns, end_ns) if is_integrated(trace) else None,
        reason=reason,
    )


def _longest_gap(trace: MeterTrace, start_ns: int, end_ns: int) -> float:
    """The longest time between two readings that overlaps the window."""
    at = np.array(trace.after_ns)
    touching = (at[1:] > start_ns) & (at[:-1] < end_ns)
    return float(np.diff(at)[touching].max(initial=0)) / 1e9


def _stood_still(trace: MeterTrace, start_ns: int, end_ns: int) -> float:
    """The longest time between readings of the window that are all the same figure."""
    at, watts = np.array(trace.after_ns), np.array(trace.watts, dtype=np.float64)
    within = (at >= start_ns) & (at <= end_ns)
    at, watts = at[within], watts[within]
    if not len(at):
        return 0.0
    first = np.concatenate(([0], np.flatnonzero(np.diff(watts)) + 1))  # the first reading of each figure
    last = np.concatenate((first[1:], [len(at)])) - 1
    return float((at[last] - at[first]).max()) / 1e9


def _disagreement(trace: MeterTrace, joules: float, start_ns: int, end_ns: int) -> float | None:
    """Counter / integrated reported power - 1; None unless power is steady enough to be integrated to within 2.5 %."""
    if is_integrated(trace) or (end_ns - start_ns) / 1e9 < COMPARABLE_S:
        return None
    try:
        power = integrate_power(trace, start_ns, end_ns)
    except NoEnergy:
        return None
    if power.joules <= 0 or half_width(power.variance) > SUSPECT / 2 * power.joules:
        return None
    return joules / power.joules - 1


def choose_headline(
    infos: Sequence[MeterInfo], missing: Sequence[MissingMeter]
) -> tuple[list[MeterInfo], list[MissingMeter]]:
    """The meters that are summed, and the devices that belong to the sum and could not be read."""
    simulated = [i for i in infos if i.simulated]
    if simulated:
        return simulated, []
    for domains in HEADLINE_DOMAINS:
        present = [i for i in infos if i.measured and i.domain in domains]
        absent = [m for m in missing if m.device is not None and m.domain in domains]
        if present or absent:
            return present, absent
    return [], []


def _headline(energy: Sequence[MeterEnergy], missing: Sequence[MissingMeter]) -> tuple[list[MeterEnergy], list[str]]:
    """The parts of the headline, and a reason for each part that is missing."""
    infos, absent = choose_headline([e.info for e in energy], missing)
    parts = [e for e in energy if e.info in infos and e.copy_of is None]
    reasons = [f"{p.info.device}: {p.reason}" for p in parts if p.joules is None]
    reasons += [f"{m.device}: {m.reason}" for m in absent]
    if not parts and not absent:
        reasons = [m.reason for m in missing] or ["there is no meter"]
    return parts, reasons


def _in_quadrature(parts: Sequence[MeterEnergy]) -> float:
    return math.hypot(*(p.uncertainty_joules for p in parts if p.uncertainty_joules is not None))


def _idle_power(chosen: Sequence[MeterEnergy], idle: WindowEnergy | None) -> tuple[float | None, str | None]:
    """Idle watts of the headline's meters, or the reason why there are none."""
    if idle is None:
        return None, "idle power was not measured"
    if idle.gross_joules is None:
        return None, f"idle power is not known: {idle.reason}"
    if {_meter(p) for p in chosen} != _meters(idle):
        return None, "idle power was measured with other meters"
    return idle.gross_joules / ((idle.end_ns - idle.start_ns) / 1e9), None


def _idle_uncertainty(idle: WindowEnergy | None) -> float:
    """Half-width of the 95 % interval of idle power, in watts."""
    if idle is None or idle.gross_joules_uncertainty is None:
        return 0.0
    return idle.gross_joules_uncertainty / ((idle.end_ns - idle.start_ns) / 1e9)


def same_meters(energy: WindowEnergy, other: WindowEnergy) -> bool:
    """Whether the headlines of two windows are of the same meters."""
    return _meters(energy) == _meters(other)


def _meters(energy: WindowEnergy) -> set[tuple[str, str]]:
    chosen, _ = _headline(energy.parts, energy.missing)
    return {_meter(part) for part in chosen}


def _meter(part: MeterEnergy) -> tuple[str, str]:
    return part.info.source, part.info.device


def _modelled(
    meters: Sequence[MeterTrace], start_ns: int, end_ns: int
) -> tuple[float | None, str | None, list[MissingMeter]]:
    """Modelled joules, the assumption in words, and the meters without a figure."""
    modelled = [m for m in meters if not m.info.measured]
    energies = [meter_energy(m, start_ns, end_ns) for m in modelled]
    missing = [
        MissingMeter(source=e.info.source, domain=e.info.domain, reason=e.reason or "")
        for e in energies
        if e.joules is None
    ]
    # Traces recorded before meters stated their basis are all of CPU seconds.
    basis = "; ".join(m.info.basis or f"CPU seconds x {m.info.name}" for m in modelled) or None
    if not energies or missing:
        return None, basis, missing
    return math.fsum(e.joules for e in energies if e.joules is not None), basis, []
