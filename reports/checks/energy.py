"""Validity of one trial's energy: the rules that read the meters, and the state of what they metered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from energy.records import Conditions
from loadgen.metrics.metrics import TrialMetrics
from loadgen.records.schema import Trial
from reports.checks.rules import Finding, Outcome, graded, trial_rule, worst

WINDOW_S, REFRESHES = 30.0, 200.0
UNCERTAINTY_FAIL = 0.05  # of the joules
DISAGREEMENT = 0.05
DRIFT_C = 3.0
GAP_S = 1.0
THROTTLING_BY_CHOICE = {"power-cap"}  # met at the board's own limit; every other reason is a fault


@trial_rule(
    position=210,
    meaning="No meter could be read; joules are CPU seconds times an assumed power and stand in columns called modelled.",
    limits="Warns if joules are modelled and none is measured.",
    remedy="Measure on a machine with an NVIDIA GPU or readable RAPL counters.",
    spoils=None,
)
def modelled_energy(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """Whether joules are measured, modelled, or neither."""
    energy = trial.energy
    if energy.gross_joules is not None:
        return Finding("pass", f"measured by {energy.source}")
    if energy.modelled_joules is not None:
        return Finding("warn", f"modelled as {energy.modelled_basis}; no measurement: {energy.reason}")
    return Finding("no data", f"no energy: {energy.reason}")


@trial_rule(
    position=220,
    meaning="A trial has no measured joules: a device that should be in the sum could not be read, or there is no meter.",
    limits="Fails if a device is there and was not read, lost, reset, frozen, in MIG mode or without permission, or if fewer GPUs were metered than the engine takes (on several hosts); warns if there is no meter at all.",
    remedy="The reason says what would mend it; `prunebench doctor` tells it before a run.",
    spoils="joules",
)
def energy_missing(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """The devices that could not be read."""
    energy = trial.energy
    if energy.gross_joules is not None:
        return Finding("pass", f"measured by {energy.source}")
    unread = [p.info.device for p in energy.parts if p.joules is None]
    unread += [m.device for m in energy.missing if m.device is not None]
    if unread:
        return Finding("fail", f"no joules, because one device could not be read: {energy.reason}")
    # That joules are modelled instead is a warning of its own.
    unwanted = not energy.missing or energy.modelled_joules is not None
    return Finding("no data" if unwanted else "warn", f"no joules: {energy.reason}")


@trial_rule(
    position=230,
    meaning="A GPU's energy counter does not answer, and joules are integrated from the power that it reports.",
    limits="Warns if any GPU in the sum is not read by its counter.",
    remedy="Compare only runs from the same source; a newer driver, or a Volta or later board, has the counter.",
    spoils=None,
)
def source_fallback(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """The source that each GPU's joules come from."""
    gpus = [p.info for p in trial.energy.parts if p.info.domain == "gpu"]
    if not gpus:
        return Finding("no data", "no GPU was metered")
    fallen = [info for info in gpus if info.kind != "counter"]
    if not fallen:
        return Finding("pass", "every GPU's own energy counter was read")
    why = "; ".join(fallen[0].gpu.unanswered) if fallen[0].gpu else "the counter did not answer"
    return Finding("warn", f"{fallen[0].device}: joules from {fallen[0].source}, because of: {why}")


@trial_rule(
    position=240,
    meaning="A meter was silent within the window. A counter bridges that; integrated power guesses.",
    limits="Warns if the longest gap between two readings is above 1 s.",
    remedy="Look for what kept the machine or the driver; the uncertainty grows where an edge lies in the gap.",
    spoils=None,
)
def meter_gaps(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """The longest silence of a meter."""
    read = [p for p in trial.energy.parts if p.longest_gap_s is not None]
    if not read:
        return Finding("no data", "no meter's readings were recorded")
    slowest = max(read, key=lambda p: p.longest_gap_s or 0.0)
    failed = sum(p.failed_reads for p in read)
    words = f"{failed:,} reads failed twice; the longest gap was {slowest.longest_gap_s:.2f} s ({slowest.info.device})"
    return Finding(graded(slowest.longest_gap_s or 0.0, GAP_S, None), words)


@trial_rule(
    position=250,
    meaning="The energy window is below 30 s or 200 refreshes of the counter, so its edges weigh in the figure; or an open loop sent for so short a time that its window holds some of the filling.",
    limits="Warns below 30 s or 200 refresh intervals, whichever is longer; fails if the joules are then known to no better than 5 %. Open loops: warns if less than half of the sending is left after the p99 of E2E, and the last half of it was taken; fails if p99 is longer than the sending, or nothing ended in the window, and the whole load was taken.",
    remedy="Raise the workload's requests or duration_s.",
    spoils="joules",
)
def window_too_short(trial: Trial, metrics: TrialMetrics) -> Finding:
    """The worse of two findings: the window of an open loop, and the energy window."""
    of_filling, of_energy = _filling(trial), _energy_too_short(trial, metrics)
    if of_filling is None:
        return of_energy
    if of_energy.outcome not in {"warn", "fail"}:
        return of_filling
    outcome = worst([of_filling.outcome, of_energy.outcome])
    return Finding(outcome, f"{of_filling.reason}; {of_energy.reason}")


def _filling(trial: Trial) -> Finding | None:
    """An open loop whose window holds some of the time in which the server filled; None for any other."""
    if trial.window_rules == 1 or trial.workload.window_cut != "steady":
        return None
    if trial.window_rule == "half":
        return Finding("warn", "p99 of E2E is over half of the sending: the window is the last half of the sending")
    if trial.window_rule == "whole":
        return Finding("fail", "the sending is shorter than p99 of E2E: the window is the whole load")
    return None


def _energy_too_short(trial: Trial, metrics: TrialMetrics) -> Finding:
    energy = trial.energy
    if energy.gross_joules is None:
        return Finding("no data", "no measured energy")
    refreshes = [part.info.refresh_s for part in energy.parts if part.info.refresh_s is not None]
    needed = max([WINDOW_S, *(REFRESHES * refresh for refresh in refreshes)])
    if metrics.window_s >= needed:
        return Finding("pass", f"the window has {metrics.window_s:.1f} s, {needed:.1f} s are needed")
    words = f"the window has {metrics.window_s:.1f} s of the {needed:.1f} s needed"
    uncertainty = energy.gross_joules_uncertainty
    if uncertainty is None or energy.gross_joules <= 0:
        return Finding("warn", words)
    share = uncertainty / energy.gross_joules
    return Finding("fail" if share > UNCERTAINTY_FAIL else "warn", f"{words}; its joules are known to ±{share:.1%}")


@trial_rule(
    position=260,
    meaning="The energy counter and the integral of the reported power are more than 5 % apart; one of them is wrong.",
    limits="Fails above 5 %.",
    remedy="Check the driver and the board's known faults; do not use the joules until they agree.",
    spoils="joules",
)
def counter_disagrees(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """The device whose counter is furthest from its integrated power."""
    compared = [p for p in trial.energy.parts if p.info.measured and p.disagreement is not None]
    if not compared:
        return Finding("no data", "no counter with a reported power to hold against it")
    furthest = max(compared, key=lambda part: abs(part.disagreement or 0.0))
    off = furthest.disagreement or 0.0
    return Finding(graded(abs(off), None, DISAGREEMENT), f"{furthest.info.device}: {off:+.1%} off the integrated power")


@trial_rule(
    position=270,
    meaning="The GPU slowed itself down during the window, by power cap, heat or power brake.",
    limits="Warns on a power cap, fails on any other cause.",
    remedy="Lock clocks below the limit or improve cooling; a power cap that all configurations meet is part of the machine.",
)
def throttled(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """The reasons by which any GPU was slowed down."""
    seen = [c for c in trial.energy.conditions if c.throttle_reasons is not None]
    if not seen:
        return Finding("no data", "what slows the GPU down was not recorded")
    slowed = [c for c in seen if c.throttle_reasons]
    if not slowed:
        return Finding("pass", f"no throttling in {len(seen):,} samples")
    reasons = sorted({reason for c in slowed for reason in c.throttle_reasons or []})
    outcome: Outcome = "warn" if set(reasons) <= THROTTLING_BY_CHOICE else "fail"
    return Finding(outcome, f"{', '.join(reasons)} in {len(slowed) / len(seen):.0%} of the samples")


@trial_rule(
    position=280,
    meaning="The GPU's temperature moved by more than 3 °C over the window, and leakage power with it.",
    limits="Warns above 3 °C between the means of the window's first and last quarter.",
    remedy="Warm up longer, and raise protocol.cooldown_s.",
    spoils=None,
)
def thermal_drift(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """The device whose temperature moved furthest."""
    by_device: dict[str, list[Conditions]] = {}
    for condition in trial.energy.conditions:
        if condition.temperature_c is not None:
            by_device.setdefault(condition.device, []).append(condition)
    drifts = {
        device: _drift([c.temperature_c or 0 for c in seen]) for device, seen in by_device.items() if len(seen) >= 4
    }
    if not drifts:
        return Finding("no data", "temperatures were not recorded")
    device = max(drifts, key=lambda d: abs(drifts[d]))
    return Finding(graded(abs(drifts[device]), DRIFT_C, None), f"{device}: {drifts[device]:+.1f} °C over the window")


@trial_rule(
    position=290,
    meaning="Another process computed on the GPU during the window: its joules are in the sum, and it slows the engine down.",
    limits="Fails if any sample has a process that is not the engine's. No data if the engine itself is not among those listed, as in a container without the host's process ids; there, what runs outside is never seen.",
    remedy="Stop it, or measure on a GPU of its own; give a container the host's process ids (`--pid=host`).",
)
def gpu_shared(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """Other processes seen on a GPU."""
    seen = [c for c in trial.energy.conditions if c.other_processes is not None]
    if not seen:
        return Finding("no data", "which processes on the GPU are the engine's is not known")
    shared = [c for c in seen if c.other_processes]
    if not shared:
        return Finding("pass", f"the engine was alone in {len(seen):,} samples")
    ids = ", ".join(str(pid) for pid in sorted({pid for c in shared for pid in c.other_processes or []}))
    return Finding("fail", f"{shared[0].device}: process {ids} in {len(shared) / len(seen):.0%} of the samples")


@trial_rule(
    position=320,
    meaning="Idle power differs between configurations, or from before to after a load, by more than 10 %; or net joules came out negative.",
    limits="Warns above 10 %, fails if net joules are negative.",
    remedy="Use gross joules; measure idle for longer, on a quiet machine.",
    spoils=None,
)
def idle_drift(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """Net joules, which a true idle power leaves positive."""
    net = trial.energy.net_joules
    if net is None:
        return Finding("no data", "no net joules")
    if net < 0:
        return Finding("fail", f"net joules are {net:.3g}: idle power was measured too high")
    return Finding("pass", "net joules are positive")


def _drift(values: Sequence[int]) -> float:
    """Mean of the last quarter less the mean of the first; at least four values."""
    quarter = len(values) // 4
    return float(np.mean(values[-quarter:]) - np.mean(values[:quarter]))
