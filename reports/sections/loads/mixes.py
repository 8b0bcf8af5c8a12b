"""Mixes by part: what each kind of request of one load has of it, by its own objectives."""

from __future__ import annotations

from reports.analysis.records import Analysis
from reports.document.blocks import Prose, Section
from reports.sections.loads.grouped import grouped_table

_LEDE = (
    "Requests of all parts arrive together and wait for each other. Figures are medians over trials of means over the completed "
    "requests of the window; ratios are in pairs within blocks, to the baseline's same part. The other sections have the whole load."
)


def mixes_section(analysis: Analysis) -> Section | None:
    """A table for each mix; None without one."""
    mixes = [name for name, workload in analysis.workloads.items() if workload.part_names]
    tables = [grouped_table(analysis, workload, "Part", lambda trial: trial.parts) for workload in mixes]
    return Section("mixes", "Mixes by part", [Prose(_LEDE, "lede"), *tables]) if mixes else None
