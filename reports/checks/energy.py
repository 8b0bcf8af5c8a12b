"""Validity of one trial's energy: the rules that read the meters, and the state of what they metered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from energy.records import Conditions
from loadgen.metrics.metrics import TrialMetrics
from loadgen.records.schema import Trial
from reports.checks.rules import SEVERITY, Finding, Outcome, graded

WINDOW_S, REFRESHES = 30.0, 200.0
UNCERTAINTY_FAIL = 0.05  # of the joules
DISAGREEMENT = 0.05
DRIFT_C = 3.0
GAP_S = 1.0
THROTTLING_BY_CHOICE = {"power-cap"}  # met at the board's own limit; every other reason is a fault


def _modelled_energy(trial: Trial, _metrics: TrialMetrics) -> Finding:
    energy = trial.energy
    if energy.gross_joules is not None:
        return Finding("pass", f"measured by {energy.source}")
    if energy.modelled_joules is not None:
        return Finding("warn", f"modelled as {energy.modelled_basis}; no measurement: {energy.reason}")
    return Finding("no data", f"no energy: {energy.reason}")


def _energy_missing(trial: Trial, _metrics: TrialMetrics) -> Finding:
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


def _source_fallback(trial: Trial, _metrics: TrialMetrics) -> Finding:
    gpus = [p.info for p in trial.energy.parts if p.info.domain == "gpu"]
    if not gpus:
        return Finding("no data", "no GPU was metered")
    fallen = [info for info in gpus if info.source != "nvml-counter"]
    if not fallen:
        return Finding("pass", "every GPU's own energy counter was read")
    why = "; ".join(fallen[0].gpu.unanswered) if fallen[0].gpu else "the counter did not answer"
    return Finding("warn", f"{fallen[0].device}: joules from {fallen[0].source}, because of: {why}")


def _meter_gaps(trial: Trial, _metrics: TrialMetrics) -> Finding:
    read = [p for p in trial.energy.parts if p.longest_gap_s is not None]
    if not read:
        return Finding("no data", "no meter's readings were recorded")
    worst = max(read, key=lambda p: p.longest_gap_s or 0.0)
    failed = sum(p.failed_reads for p in read)
    words = f"{failed:,} reads failed twice; the longest gap was {worst.longest_gap_s:.2f} s ({worst.info.device})"
    return Finding(graded(worst.longest_gap_s or 0.0, GAP_S, None), words)


def _window_too_short(trial: Trial, metrics: TrialMetrics) -> Finding:
    of_filling, of_energy = _filling(trial), _energy_too_short(trial, metrics)
    if of_filling is None:
        return of_energy
    if of_energy.outcome not in {"warn", "fail"}:
        return of_filling
    worst = max(of_filling.outcome, of_energy.outcome, key=SEVERITY.__getitem__)
    return Finding(worst, f"{of_filling.reason}; {of_energy.reason}")


def _filling(trial: Trial) -> Finding | None:
    """An open loop whose window holds some of the time in which the server filled; None for any other."""
    if trial.window_rules == 1 or not trial.workload.open_loop or trial.workload.kind == "ramp":
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


def _counter_disagrees(trial: Trial, _metrics: TrialMetrics) -> Finding:
    compared = [p for p in trial.energy.parts if p.info.measured and p.disagreement is not None]
    if not compared:
        return Finding("no data", "no counter with a reported power to hold against it")
    worst = max(compared, key=lambda part: abs(part.disagreement or 0.0))
    off = worst.disagreement or 0.0
    return Finding(graded(abs(off), None, DISAGREEMENT), f"{worst.info.device}: {off:+.1%} off the integrated power")


def _throttled(trial: Trial, _metrics: TrialMetrics) -> Finding:
    seen = [c for c in trial.energy.conditions if c.throttle_reasons is not None]
    if not seen:
        return Finding("no data", "what slows the GPU down was not recorded")
    slowed = [c for c in seen if c.throttle_reasons]
    if not slowed:
        return Finding("pass", f"no throttling in {len(seen):,} samples")
    reasons = sorted({reason for c in slowed for reason in c.throttle_reasons or []})
    outcome: Outcome = "warn" if set(reasons) <= THROTTLING_BY_CHOICE else "fail"
    return Finding(outcome, f"{', '.join(reasons)} in {len(slowed) / len(seen):.0%} of the samples")


def _thermal_drift(trial: Trial, _metrics: TrialMetrics) -> Finding:
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


def _gpu_shared(trial: Trial, _metrics: TrialMetrics) -> Finding:
    seen = [c for c in trial.energy.conditions if c.other_processes is not None]
    if not seen:
        return Finding("no data", "which processes on the GPU are the engine's is not known")
    shared = [c for c in seen if c.other_processes]
    if not shared:
        return Finding("pass", f"the engine was alone in {len(seen):,} samples")
    ids = ", ".join(str(pid) for pid in sorted({pid for c in shared for pid in c.other_processes or []}))
    return Finding("fail", f"{shared[0].device}: process {ids} in {len(shared) / len(seen):.0%} of the samples")


def _idle_drift(trial: Trial, _metrics: TrialMetrics) -> Finding:
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


ENERGY_RULES: dict[str, Callable[[Trial, TrialMetrics], Finding | None]] = {
    "modelled-energy": _modelled_energy,
    "energy-missing": _energy_missing,
    "source-fallback": _source_fallback,
    "meter-gaps": _meter_gaps,
    "window-too-short": _window_too_short,
    "counter-disagrees": _counter_disagrees,
    "throttled": _throttled,
    "thermal-drift": _thermal_drift,
    "gpu-shared": _gpu_shared,
    "idle-drift": _idle_drift,
}
