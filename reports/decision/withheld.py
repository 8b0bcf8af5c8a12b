"""Comparisons that the advice leaves out because a check fails, and the sentences about them."""

from __future__ import annotations

from reports.analysis.family import FamilyComparison, Purpose
from reports.analysis.quantities import JOULES_KEYS
from reports.analysis.records import Analysis
from reports.checks.results import Observation
from reports.checks.rules import RULES
from reports.document.wording import listed, sentence

Withheld = dict[str, list[FamilyComparison]]  # by the failed check


def usable(analysis: Analysis, purpose: Purpose) -> tuple[list[FamilyComparison], Withheld]:
    """The comparisons of a purpose that have a ratio: those that no check spoils, and the others by failed check."""
    left: list[FamilyComparison] = []
    withheld: Withheld = {}
    for one in analysis.family:
        if one.purpose == purpose and one.comparison.ratio is not None:
            failing = _failing(analysis, one)
            for check in failing:
                withheld.setdefault(check, []).append(one)
            if not failing:
                left.append(one)
    return left, withheld


def concerns(seen: Observation, analysis: Analysis, workload: str, label: str | None) -> bool:
    """Whether an observation concerns this workload and the configuration or the baseline; None: any configuration."""
    labels = {None, label, analysis.info.baseline} if label else {seen.label}
    return seen.workload in {workload, None} and seen.label in labels


def left_out(withheld: Withheld, names: dict[str, str]) -> list[str]:
    """One sentence per failing check; `names` are the configurations' names by label."""
    sentences = []
    for check, comparisons in withheld.items():
        whole = {c.label for c in comparisons if c.quantity not in JOULES_KEYS}
        labels = dict.fromkeys(c.label for c in comparisons)
        parts = [names[label] if label in whole else f"the joules of {names[label]}" for label in labels]
        sentences.append(sentence(f"left out because {check} fails: {listed(parts)}"))
    return sentences


def why_withheld(analysis: Analysis, withheld: Withheld, workload: str) -> list[str]:
    """The failed checks, each with its remedy."""
    sentences = []
    for check in analysis.checks:
        if check.check in withheld:
            seen = next(o for o in check.observations if o.outcome == "fail" and o.workload in {workload, None})
            sentences.append(f"{sentence(f'{check.check} fails: {seen.reason}')} {check.remedy}")
    return sentences


def _failing(analysis: Analysis, one: FamilyComparison) -> list[str]:
    """The checks whose failure, in the configuration or in the baseline, spoils a comparison."""
    return [
        check.check
        for check in analysis.checks
        if RULES[check.check].spoils_quantity(one.quantity)
        and any(o.outcome == "fail" and concerns(o, analysis, one.workload, one.label) for o in check.observations)
    ]
