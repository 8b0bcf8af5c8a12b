"""The findings of a run, grouped by rule and place as a report lists them."""

from __future__ import annotations

from base.records import Record
from reports.checks.rules import RULES, SEVERITY, Located, Outcome, worst


class Observation(Record):
    """One check's finding for a configuration and workload (None: for all): the worst, which `trials` trials share."""

    outcome: Outcome
    label: str | None
    workload: str | None
    trials: int
    reason: str

    @property
    def place(self) -> str:
        """Workload, configuration and number of trials."""
        trials = f"{self.trials} trial{'s' * (self.trials != 1)}" if self.trials else None
        return ", ".join(part for part in (self.workload, self.label, trials) if part)


class CheckResult(Record):
    """One rule over the whole run: its worst outcome, and the observations behind it."""

    check: str
    meaning: str
    remedy: str
    outcome: Outcome
    observations: list[Observation]

    @property
    def summary(self) -> str:
        """The worst observation in one line: its reason, its place, and the number of others like it."""
        worst = [o for o in self.observations if o.outcome == self.outcome]
        if not worst:
            return "there is nothing that it applies to"
        others = f"and {len(worst) - 1} more" if len(worst) > 1 else ""
        places = "; ".join(part for part in (worst[0].place, others) if part)
        return f"{worst[0].reason} ({places})" if places else worst[0].reason


def group_findings(found: dict[str, list[Located]]) -> list[CheckResult]:
    """Group each rule's findings by configuration and workload, worst first. A rule without findings has no data."""
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
    """Reduce one place's findings to the worst outcome, the number of trials that have it, and the reason of the first."""
    outcome = worst(one.finding.outcome for one in located)
    those = [one for one in located if one.finding.outcome == outcome]
    first = those[0]
    trials = sum(one.block is not None for one in those)
    return Observation(
        outcome=outcome, label=first.label, workload=first.workload, trials=trials, reason=first.finding.reason
    )
