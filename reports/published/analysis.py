"""The analysis of the published study: the output of `prunebench published --json`."""

from __future__ import annotations

from typing import Any

from base.records import Record
from reports.published.claims.judging import ClaimResult, Judged, count_by_standard
from reports.published.claims.rules import judge_claims
from reports.published.facts import Facts, find_facts
from reports.published.study import Study, Version
from reports.published.study_checks import StudyCheck, check_study
from reports.statistics.ratios import MARGIN


class StudyAnalysis(Record):
    """Claims and checks, with all figures behind them."""

    schema_version: int = 1
    source: dict[str, Any]
    versions: list[Version]
    claims: list[ClaimResult]
    standards: list[Judged]
    checks: list[StudyCheck]
    facts: Facts


def analyse_study(study: Study, *, margin: float = MARGIN) -> StudyAnalysis:
    """Verdicts are given at `margin`, a share."""
    facts = find_facts(study, margin=margin)
    claims = judge_claims(study.claims, study.versions, facts)
    return StudyAnalysis(
        source=study.source,
        versions=study.versions,
        claims=claims,
        standards=count_by_standard(claims),
        checks=check_study(facts),
        facts=facts,
    )
