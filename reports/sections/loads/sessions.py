"""Sessions by turn: how latencies and the prefix cache's share go with the length of what was said before."""

from __future__ import annotations

from reports.analysis.records import Analysis
from reports.document.blocks import Prose, Section
from reports.document.wording import PER_CELL
from reports.sections.loads.grouped import TURNS, grouped_table, joules_words

_LEDE = (
    "Each turn is sent with all that was said before it, so that prompts grow from turn to turn. Figures are medians over trials, of "
    "TTFT, TPOT and E2E of the mean over the completed requests of the window; beneath, the ratio to the baseline's same turn, in "
    "pairs within blocks."
)


def sessions_section(analysis: Analysis) -> Section | None:
    """A table for each workload of sessions; None without one."""
    held = [name for name, workload in analysis.workloads.items() if workload.holds_sessions]
    tables = [
        grouped_table(analysis, name, "turn", f"{name}. {joules_words(analysis, name, 'turn')} {PER_CELL}", TURNS)
        for name in held
    ]
    return Section("sessions", "Sessions by turn", [Prose(_LEDE, "lede"), *tables]) if held else None
