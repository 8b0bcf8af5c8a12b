"""What stands around the figures, in words: the run in a line, its checks in short, its environment as rows."""

from __future__ import annotations

from typing import Any

from reports.analysis.records import Analysis
from reports.checks.results import CheckResult, Observation
from reports.checks.rules import SEVERITY


def subtitle(analysis: Analysis) -> str:
    """When, on what, and how much."""
    info, environment = analysis.info, analysis.environment
    engines = sorted({f"{c.info.engine} {c.info.engine_version or ''}".strip() for c in analysis.configurations})
    gpus = sorted(
        {
            p.info.name
            for c in analysis.configurations
            if c.info.idle
            for p in c.info.idle.parts
            if p.info.domain == "gpu" and p.info.name
        }
    )
    parts = [
        info.created_at.replace("T", " ").removesuffix("+00:00") + " UTC",
        ", ".join(gpus) or environment.get("processor") or "an unnamed processor",
        ", ".join(engines),
        f"{len(info.labels)} configurations, {len(info.workloads)} workloads, {info.blocks} blocks",
    ]
    return " · ".join(part for part in parts if part)  # fmt: skip


def limits(analysis: Analysis) -> list[CheckResult]:
    """The checks that warn or fail, worst first."""
    found = [check for check in analysis.checks if check.outcome in {"warn", "fail"}]
    return sorted(found, key=lambda check: -SEVERITY[check.outcome])


def summary(check: CheckResult) -> str:
    """The worst of a check in one line: where, in how many places, and what was seen in the first."""
    worst = [o for o in check.observations if o.outcome == check.outcome]
    if not worst:
        return "there is nothing that it applies to"
    others = len(worst) - 1
    places = "; ".join(part for part in (where(worst[0]), f"and {others} more" if others else "") if part)
    return f"{worst[0].reason} ({places})" if places else worst[0].reason


def where(observation: Observation) -> str:
    """The place of an observation: workload, configuration, number of trials."""
    parts = [observation.workload, observation.label]
    if observation.trials:
        parts.append(f"{observation.trials} trial{'s' * (observation.trials != 1)}")
    return ", ".join(part for part in parts if part)


def environment_rows(environment: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values, nested names joined by dots; what the machine did not tell is left out."""
    rows: list[tuple[str, str]] = []
    for key, value in environment.items():
        if isinstance(value, dict):
            rows += [(f"{key}.{inner}", text) for inner, text in environment_rows(value)]
        elif value is not None:
            rows.append((key, str(value)))
    return rows
