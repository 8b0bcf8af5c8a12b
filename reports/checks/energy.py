"""Validity of one trial's energy: the meters, and the window over which they are read."""

from __future__ import annotations

from base.figures import figure, percent
from loadgen.metrics.metrics import TrialMetrics
from loadgen.records.schema import Trial
from reports.checks.rules import Finding, graded, trial_rule, worst

WINDOW_S, REFRESHES = 30.0, 200.0
UNCERTAINTY_FAIL = 0.05  # of the joules
DISAGREEMENT = 0.05
GAP_S = 1.0
STILL_S = 10.0  # that a figure of reported power stands


@trial_rule(position=210, spoils=None)
def modelled_energy(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """No meter could be read. Joules are CPU seconds times an assumed power, in columns named modelled.

    Limits: Warns if joules are modelled and none is measured.

    Remedy: Measure on a machine with an NVIDIA GPU or readable RAPL counters.
    """
    energy = trial.energy
    if energy.gross_joules is not None:
        return Finding("pass", f"measured by {energy.source}")
    if energy.modelled_joules is not None:
        return Finding("warn", f"modelled as {energy.modelled_basis}; no measurement: {energy.reason}")
    return Finding("no data", f"no energy: {energy.reason}")


@trial_rule(position=220, spoils="joules")
def energy_missing(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """A trial has no measured joules: a device that belongs in the sum could not be read, or there is no meter.

    Limits: Fails if a present device was not read: lost, reset, frozen, in MIG mode or without permission. Fails if
    fewer GPUs were metered than the engine uses (on several hosts). Warns if there is no meter.

    Remedy: The reason says what would fix it; `prunebench doctor` reports it before a run.
    """
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


@trial_rule(position=230, spoils=None)
def source_fallback(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """A GPU's energy counter does not answer, so joules are integrated from its reported power.

    Limits: Warns if any GPU in the sum is not read by its counter.

    Remedy: Compare only runs with the same source. A newer driver, or a Volta or later board, has the counter.
    """
    gpus = [p.info for p in trial.energy.parts if p.info.domain == "gpu"]
    if not gpus:
        return Finding("no data", "no GPU was metered")
    fallen = [info for info in gpus if info.kind != "counter"]
    if not fallen:
        return Finding("pass", "every GPU's own energy counter was read")
    why = "; ".join(fallen[0].gpu.unanswered) if fallen[0].gpu else "the counter did not answer"
    return Finding("warn", f"{fallen[0].device}: joules from {fallen[0].source}, because of: {why}")


@trial_rule(position=240, spoils=None)
def meter_gaps(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """A meter gave no readings for a time within the window. A counter bridges the gap; integrated power interpolates
    over it.

    Limits: Warns if the longest gap between two readings is above 1 s.

    Remedy: Find out what blocked the machine or the driver. The uncertainty grows if an edge of the window lies in the
    gap.
    """
    read = [p for p in trial.energy.parts if p.longest_gap_s is not None]
    if not read:
        return Finding("no data", "no meter's readings were recorded")
    slowest = max(read, key=lambda p: p.longest_gap_s or 0.0)
    failed = sum(p.failed_reads for p in read)
    words = f"{failed:,} reads failed twice; the longest gap was {slowest.longest_gap_s:.2f} s ({slowest.info.device})"
    return Finding(graded(slowest.longest_gap_s or 0.0, GAP_S, None), words)


@trial_rule(position=245, spoils="joules")
def power_unchanged(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """A GPU's reported power, which joules are integrated from, did not change at all for a time: the driver may show an
    old figure.

    Limits: Warns if one figure stood for over 10 s within the window; fails if it stood for half the window too.

    Remedy: Look at `nvidia-smi -q -d POWER` while it computes. A power that really is so steady is not seen on boards that
    report it in milliwatts; where it is reported in whole watts, use a board with an energy counter.
    """
    energy = trial.energy
    read = [p for p in energy.parts if p.info.domain == "gpu" and p.joules is not None and p.stood_still_s is not None]
    if not read:
        return Finding("no data", "no GPU's joules are integrated from its reported power")
    stillest = max(read, key=lambda p: p.stood_still_s or 0.0)
    still = stillest.stood_still_s or 0.0
    window = (energy.end_ns - energy.start_ns) / 1e9
    outcome = graded(still, STILL_S, max(STILL_S, window / 2))
    return Finding(outcome, f"one figure of {stillest.info.device} stood for {still:.1f} s of {window:.1f} s")


@trial_rule(position=250, spoils="joules")
def window_too_short(trial: Trial, metrics: TrialMetrics) -> Finding:
    """The energy window is shorter than 30 s or 200 refreshes of the counter, so its edges affect the figure; or an
    open loop sent requests so briefly that its window includes time in which the server was still filling.

    Limits: Warns below 30 s or 200 refresh intervals, whichever is longer; fails if the uncertainty of the joules is
    then above 5 %. Open loops: warns if less than half of the sending time is left after the p99 of E2E, so that the
    window is the last half of the sending; fails if p99 is longer than the sending, or nothing ended in the window, so
    that the window is the whole load.

    Remedy: Raise the workload's requests or duration_s.
    """
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
    sending, longest = "sending", "p99 of E2E"
    if trial.workload.holds_sessions:
        sending, longest = "time in which sessions began", "p99 of how long one lasts"
    if trial.window_rule == "half":
        return Finding("warn", f"{longest} is over half of the {sending}: the window is the last half of it")
    if trial.window_rule == "whole":
        return Finding("fail", f"the {sending} is shorter than {longest}: the window is the whole load")
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
    return Finding(
        "fail" if share > UNCERTAINTY_FAIL else "warn", f"{words}; its joules are known to ±{percent(share)}"
    )


@trial_rule(position=260, spoils="joules")
def counter_disagrees(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """The energy counter and the integral of the reported power differ by more than 5 %; one of them is wrong.

    Limits: Fails above 5 %.

    Remedy: Check the driver and the board's known faults; do not use the joules until they agree.
    """
    compared = [p for p in trial.energy.parts if p.info.measured and p.disagreement is not None]
    if not compared:
        return Finding("no data", "no counter with a reported power to compare it with")
    furthest = max(compared, key=lambda part: abs(part.disagreement or 0.0))
    off = furthest.disagreement or 0.0
    return Finding(
        graded(abs(off), None, DISAGREEMENT),
        f"{furthest.info.device}: {percent(off, signed=True)} off the integrated power",
    )


@trial_rule(position=320, spoils=None)
def idle_drift(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """Idle power differs by more than 10 % between configurations, or from before to after a load; or net joules are
    negative.

    Limits: Warns above 10 %; fails if net joules are negative.

    Remedy: Use gross joules, or measure idle power for longer on a quiet machine.
    """
    net = trial.energy.net_joules
    if net is None:
        return Finding("no data", "no net joules")
    if net < 0:
        return Finding("fail", f"net joules are {figure(net)}: idle power was measured too high")
    return Finding("pass", "net joules are positive")
