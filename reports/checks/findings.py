"""Run every registered check on a trial, or on a run."""

from __future__ import annotations

from loadgen.metrics.metrics import TrialMetrics
from loadgen.records.schema import Flag, Trial
from reports.checks.rules import Finding, Located, ordered_rules
from reports.runs.reading import MeasuredRun


def check_trial(trial: Trial, metrics: TrialMetrics) -> list[Flag]:
    """Flags of the rules that warn or fail on one trial, without the rest of the run."""
    findings = find_in_trial(trial, metrics)
    return [
        Flag(check=name, outcome=finding.outcome, reason=finding.reason)
        for name, finding in findings.items()
        if finding.outcome in {"warn", "fail"}
    ]


def find_in_trial(trial: Trial, metrics: TrialMetrics) -> dict[str, Finding]:
    """Findings by rule; rules that do not apply to the workload are absent."""
    found = {rule.name: rule.of_trial(trial, metrics) for rule in ordered_rules() if rule.of_trial}
    return {name: finding for name, finding in found.items() if finding is not None}


def check_run(run: MeasuredRun) -> dict[str, list[Located]]:
    """Findings of a run by rule, passes included."""
    found: dict[str, list[Located]] = {rule.name: [] for rule in ordered_rules()}
    for t in run.trials:
        for name, finding in find_in_trial(t.trial, t.metrics).items():
            found[name].append(Located(finding, t.cell.label, t.cell.workload, t.cell.block))
    for rule in ordered_rules():
        if rule.of_run:
            found[rule.name] += rule.of_run(run)
    return found
