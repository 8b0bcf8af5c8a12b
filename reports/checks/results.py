"""What the checks of a run found, by rule and by place: what a report lists."""

from __future__ import annotations

from base.records import Record
from reports.checks.rules import RULES, SEVERITY, Located, Outcome, worst


class Observation(Record):
    """What one check found for one configuration and workload; None: for all. The worst of `trials` trials speaks."""

    outcome: Outcome
    label: str | None
    workload: str | None
    trials: int
    reason: str


class CheckResult(Record):
    """One rule over the whole run: its worst outcome, and what led to it."""

    check: str
    meaning: str
    remedy: str
    outcome: Outcome
    observations: list[Observation]


def group_findings(found: dict[str, list[Located]]) -> list[CheckResult]:
    """Group each rule's findings by configuration and workload; worst first. A rule nothing was found for has no data."""
    results = []
    for name, own in found.items():
        rule = RULES[name]
        places = {(located.label, located.workload): None for located in own}
        observations = [
            _observe([located for located in own if (located.label, located.workload) == p]) for p in places
        ]
        observations.sort(key=lambda o: -SEVERITY[o.outcome])
        decided = [o.outcome for o in observations if o.outcome != "no data"]
        outcome: Outcome = worst(decided) if decided else "no data"
        results.append(
            CheckResult(
                check=rule.name, meaning=rule.meaning, remedy=rule.remedy, outcome=outcome, observations=observations
            )
        )
    return results


def _observe(located: list[Located]) -> Observation:
    """One place's findings as one: the worst outcome, how many trials have it, and what the first of them says."""
    outcome = worst(one.finding.outcome for one in located)
    those = [one for one in located if one.finding.outcome == outcome]
    first = those[0]
    trials = sum(one.block is not None for one in those)
    return Observation(
        outcome=outcome, label=first.label, workload=first.workload, trials=trials, reason=first.finding.reason
    )
