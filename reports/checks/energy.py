"""Validity of one trial's energy: the meters, and the state of the metered devices."""

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
THROTTLING_BY_CHOICE = {"power-cap"}  # the board's own limit; every other reason is a fault


@trial_rule(
    position=210,
    meaning="No meter could be read. Joules are CPU seconds times an assumed power, in columns named modelled.",
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
    meaning="A trial has no measured joules: a device that belongs in the sum could not be read, or there is no meter.",
    limits="Fails if a present device was not read: lost, reset, frozen, in MIG mode or without permission. Fails if fewer GPUs were metered than the engine uses (on several hosts). Warns if there is no meter.",
    remedy="The reason says what would fix it; `prunebench doctor` reports it before a run.",
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
        return Finding("fail", f"no joules, because a device could not be read: {energy.reason}")
    # modelled-energy warns of modelled joules.
    not_requested = not energy.missing or energy.modelled_joules is not None
    return Finding("no data" if not_requested else "warn", f"no joules: {energy.reason}")


@trial_rule(
    position=230,
    meaning="A GPU's energy counter does not answer, so joules are integrated from its reported power.",
    limits="Warns if any GPU in the sum is not read by its counter.",
    remedy="Compare only runs with the same source. A newer driver, or a Volta or later board, has the counter.",
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
    meaning="A meter gave no readings for a time within the window. A counter bridges the gap; integrated power interpolates over it.",
    limits="Warns if the longest gap between two readings is above 1 s.",
    remedy="Find out what blocked the machine or the driver. The uncertainty grows if an edge of the window lies in the gap.",
    spoils=None,
)
def meter_gaps(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """The longest gap between two readings of a meter."""
    read = [p for p in trial.energy.parts if p.longest_gap_s is not None]
    if not read:
        return Finding("no data", "no meter's readings were recorded")
    slowest = max(read, key=lambda p: p.longest_gap_s or 0.0)
    failed = sum(p.failed_reads for p in read)
    words = f"{failed:,} reads failed twice; the longest gap was {slowest.longest_gap_s:.2f} s ({slowest.info.device})"
    return Finding(graded(slowest.longest_gap_s or 0.0, GAP_S, None), words)


@trial_rule(
    position=250,
    meaning="The energy window is shorter than 30 s or 200 refreshes of the counter, so its edges affect the figure; or an open loop sent requests so briefly that its window includes time in which the server was still filling.",
    limits="Warns below 30 s or 200 refresh intervals, whichever is longer; fails if the uncertainty of the joules is then above 5 %. Open loops: warns if less than half of the sending time is left after the p99 of E2E, so that the window is the last half of the sending; fails if p99 is longer than the sending, or nothing ended in the window, so that the window is the whole load.",
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
    """An open loop whose window includes time in which the server was still filling; None for any other."""
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
    meaning="The energy counter and the integral of the reported power differ by more than 5 %; one of them is wrong.",
    limits="Fails above 5 %.",
    remedy="Check the driver and the board's known faults; do not use the joules until they agree.",
    spoils="joules",
)
def counter_disagrees(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """The device whose counter is furthest from its integrated power."""
    compared = [p for p in trial.energy.parts if p.info.measured and p.disagreement is not None]
    if not compared:
        return Finding("no data", "no counter with a reported power to compare it with")
    furthest = max(compared, key=lambda part: abs(part.disagreement or 0.0))
    off = furthest.disagreement or 0.0
    return Finding(graded(abs(off), None, DISAGREEMENT), f"{furthest.info.device}: {off:+.1%} off the integrated power")


@trial_rule(
    position=270,
    meaning="The GPU throttled during the window, by power cap, heat or power brake.",
    limits="Warns on a power cap, fails on any other cause.",
    remedy="Lock clocks below the limit, or improve cooling. A power cap that limits all configurations is part of the machine.",
)
def throttled(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """The reasons for throttling of any GPU."""
    seen = [c for c in trial.energy.conditions if c.throttle_reasons is not None]
    if not seen:
        return Finding("no data", "throttling was not recorded")
    slowed = [c for c in seen if c.throttle_reasons]
    if not slowed:
        return Finding("pass", f"no throttling in {len(seen):,} samples")
    reasons = sorted({reason for c in slowed for reason in c.throttle_reasons or []})
    outcome: Outcome = "warn" if set(reasons) <= THROTTLING_BY_CHOICE else "fail"
    return Finding(outcome, f"{', '.join(reasons)} in {len(slowed) / len(seen):.0%} of the samples")


@trial_rule(
    position=280,
    meaning="The GPU's temperature changed by more than 3 °C over the window, and its leakage power with it.",
    limits="Warns if the means of the window's first and last quarter differ by more than 3 °C.",
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
    meaning="Another process used the GPU during the window: its joules are in the sum, and it slows the engine down.",
    limits="Fails if any sample lists a process that is not the engine's. No data if the engine is not listed, as in a container without the host's process ids; processes outside such a container are never seen.",
    remedy="Stop it, or measure on a dedicated GPU; give a container the host's process ids (`--pid=host`).",
)
def gpu_shared(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """Other processes seen on a GPU."""
    seen = [c for c in trial.energy.conditions if c.other_processes is not None]
    if not seen:
        return Finding("no data", "the engine's own processes on the GPU are unknown")
    shared = [c for c in seen if c.other_processes]
    if not shared:
        return Finding("pass", f"the engine was alone in {len(seen):,} samples")
    ids = ", ".join(str(pid) for pid in sorted({pid for c in shared for pid in c.other_processes or []}))
    return Finding("fail", f"{shared[0].device}: process {ids} in {len(shared) / len(seen):.0%} of the samples")


@trial_rule(
    position=320,
    meaning="Idle power differs by more than 10 % between configurations, or from before to after a load; or net joules are negative.",
    limits="Warns above 10 %; fails if net joules are negative.",
    remedy="Use gross joules, or measure idle power for longer on a quiet machine.",
    spoils=None,
)
def idle_drift(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """Net joules, which are positive if idle power was measured right."""
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
