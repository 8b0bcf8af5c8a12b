"""Sessions by turn: how latencies and the prefix cache's share go with the length of what was said before."""

from __future__ import annotations

from reports.analysis.records import Analysis
from reports.document.blocks import Prose, Section
from reports.sections.loads.grouped import grouped_table

_LEDE = (
    "Each turn is sent with all that was said before it, so that prompts grow from turn to turn. Figures are medians over trials of "
    "means over the completed requests of the window; ratios are in pairs within blocks, to the baseline's same turn."
)


def sessions_section(analysis: Analysis) -> Section | None:
    """A table for each workload of sessions; None without one."""
    held = [name for name, workload in analysis.workloads.items() if workload.holds_sessions]
    tables = [
        grouped_table(analysis, workload, "Turn", lambda trial: dict(sorted(trial.turns.items()))) for workload in held
    ]
    return Section("sessions", "Sessions by turn", [Prose(_LEDE, "lede"), *tables]) if held else None
