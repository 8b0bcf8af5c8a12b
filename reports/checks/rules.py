"""The registry of validity checks: a check is one decorated function, whose docstring is its words.

"fail": do not use the figures that it concerns; "warn": how to read them. A check without the data it needs has the outcome
"no data", never "pass". `reports.checks.findings` runs them all.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from loadgen.metrics.metrics import TrialMetrics
from loadgen.records.schema import Trial
from reports.runs.reading import MeasuredRun

Outcome = Literal["pass", "warn", "fail", "no data"]
Spoils = Literal["all", "latency", "joules", "tokens"]
SEVERITY: dict[Outcome, int] = {"pass": 0, "no data": 1, "warn": 2, "fail": 3}


@dataclass(frozen=True)
class Finding:
    """A check's outcome in one place; `reason` gives the evidence for any outcome."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True)
class Located:
    """One finding and its place; None: all configurations, workloads or blocks."""

    finding: Finding
    label: str | None = None
    workload: str | None = None
    block: int | None = None


def graded(value: float, warn_above: float | None, fail_above: float | None) -> Outcome:
    """Grade a figure for which larger is worse; None: there is no such limit; NaN: no data."""
    if math.isnan(value):
        return "no data"
    if fail_above is not None and value > fail_above:
        return "fail"
    return "warn" if warn_above is not None and value > warn_above else "pass"


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The most severe outcome of at least one."""
    return max(outcomes, key=SEVERITY.__getitem__)


TrialCheck = Callable[[Trial, TrialMetrics], Finding | None]  # None: the check does not apply to this workload
RunCheck = Callable[[MeasuredRun], Iterator[Located]]


@dataclass
class Rule:
    """One check: its meaning, its limits and what to do, in words, and the functions that decide it.

    `spoils` says which comparisons a failure makes unusable: the advice leaves them out. None: the check never fails, or its
    failures concern no comparison that the advice uses. `position` orders the checks in reports and in
    docs/reference/checks.md; without one a check comes last.
    """

    name: str
    meaning: str
    limits: str
    remedy: str
    spoils: Spoils | None = "all"
    position: float = math.inf
    of_trial: TrialCheck | None = None
    of_run: RunCheck | None = None

    def spoils_quantity(self, key: str) -> bool:
        """Whether a failure makes comparisons of this quantity unusable."""
        kinds: dict[Spoils | None, bool] = {
            "all": True,
            "joules": "joules" in key,
            "latency": key.endswith("_ms"),
            "tokens": "character" not in key,
        }
        return kinds.get(self.spoils, False)

    def in_run(self, check: RunCheck) -> RunCheck:
        """Decorate the function that also decides this rule for a whole run."""
        self.of_run = check
        return check


RULES: dict[str, Rule] = {}


def trial_rule(*, spoils: Spoils | None = "all", position: float = math.inf) -> Callable[[TrialCheck], Rule]:
    """Make a rule of the function that decides it for one trial, with the name and words that `rule_of` finds."""
    return lambda check: _register(replace(rule_of(check, spoils, position), of_trial=check))


def run_rule(*, spoils: Spoils | None = "all", position: float = math.inf) -> Callable[[RunCheck], Rule]:
    """Make a rule of the function that decides it for a run, as `trial_rule` does for one trial."""
    return lambda check: _register(replace(rule_of(check, spoils, position), of_run=check))


def ordered_rules() -> list[Rule]:
    """Every registered rule, as reports and the documentation list them."""
    return sorted(RULES.values(), key=lambda rule: rule.position)


def _register(rule: Rule) -> Rule:
    if rule.name in RULES:
        raise ValueError(f"two checks are called {rule.name}")
    RULES[rule.name] = rule
    return rule


def rule_of(check: Callable[..., Any], spoils: Spoils | None = "all", position: float = math.inf) -> Rule:
    """The rule that a function decides; the function's name is the rule's, with hyphens.

    Its docstring is the rule's words, three paragraphs: the meaning of a finding, "Limits: ..." and "Remedy: ...".
    """
    words = re.fullmatch(r"(.+)\n\nLimits: (.+)\n\nRemedy: (.+)", inspect.getdoc(check) or "", re.DOTALL)
    if words is None:
        raise ValueError(
            f"the docstring of {check.__name__} needs its meaning, a paragraph 'Limits: ...' and 'Remedy: ...'"
        )
    meaning, limits, remedy = (" ".join(paragraph.split()) for paragraph in words.groups())
    return Rule(check.__name__.strip("_").replace("_", "-"), meaning, limits, remedy, spoils, position)
