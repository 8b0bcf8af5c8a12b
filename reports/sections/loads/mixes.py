"""Mixes by part: what each kind of request of one load has of it, by its own objectives."""

from __future__ import annotations

from collections.abc import Iterator

from loadgen.workloads.base import Workload
from reports.analysis.records import Analysis
from reports.document.blocks import Prose, Section, Table
from reports.document.wording import PER_CELL
from reports.sections.loads.grouped import LATENCIES, OBJECTIVES, RATES, grouped_table, joules_words

_LEDE = (
    "Requests of all parts arrive together and wait for each other. Figures are medians over trials, of TTFT, TPOT and E2E of the "
    "mean over the completed requests of the window; beneath, the ratio to the baseline's same part, in pairs within blocks. "
    "Throughputs of the parts add up to those of the load. The other sections have the whole load."
)


def mixes_section(analysis: Analysis) -> Section | None:
    """Tables for each mix; None without one."""
    mixes = {name: workload for name, workload in analysis.workloads.items() if workload.part_names}
    tables = [table for name, workload in mixes.items() for table in _tables(analysis, name, workload)]
    return Section("mixes", "Mixes by part", [Prose(_LEDE, "lede"), *tables]) if mixes else None


def _tables(analysis: Analysis, name: str, workload: Workload) -> Iterator[Table]:
    """Latencies, throughput with joules, and objectives where a part has any."""
    rest = f"{joules_words(analysis, name, 'part')} {PER_CELL}"
    yield grouped_table(analysis, name, "part", f"{name}: latency. {PER_CELL}", LATENCIES)
    yield grouped_table(analysis, name, "part", f"{name}: throughput and joules. {rest}", RATES, prompts=False)
    if any(workload.all_objectives):
        yield grouped_table(analysis, name, "part", f"{name}: objectives. {rest}", OBJECTIVES, prompts=False)
