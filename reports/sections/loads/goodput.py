"""Goodput: how many requests met the objectives of their workload, and what one of them took."""

from __future__ import annotations

from base.figures import figure
from loadgen.workloads.base import Workload
from reports.analysis.quantities import GOOD_PER_S, GOOD_SHARE
from reports.analysis.records import Analysis
from reports.document.blocks import Column, Prose, Section
from reports.document.wording import PER_CELL, listed
from reports.sections.loads.quantity_table import JOULES_OF_GOOD, quantity_table

_LEDE = (
    "A good request met every objective of its workload; a failed one meets none. The share is of the requests that ended in the "
    "window and of those that failed after it. Joules are all of the window, over its good requests."
)
_COLUMNS = (
    (GOOD_PER_S, Column("Goodput", "good requests/s")),
    (GOOD_SHARE, Column("Good requests", "of all")),
    JOULES_OF_GOOD,
)
_WORDS = {"ttft": "TTFT", "tpot": "TPOT", "itl": "p99 of its ITL", "e2e": "E2E"}


def goodput_section(analysis: Analysis) -> Section | None:
    """A table for each workload with objectives; None without one."""
    judged = {name: workload for name, workload in analysis.workloads.items() if any(workload.all_objectives)}
    tables = [
        quantity_table(analysis, name, f"{name}: {_objectives(workload)}. {PER_CELL}", _COLUMNS)
        for name, workload in judged.items()
    ]
    return Section("goodput", "Goodput", [Prose(_LEDE, "lede"), *tables]) if tables else None


def _objectives(workload: Workload) -> str:
    """The objectives in words, of a mix those of each part that has any."""
    named = zip(workload.part_names or ("",), workload.all_objectives, strict=True)
    return "; ".join(f"{f'{part} ' if part else ''}{_limits(limits)}" for part, limits in named if limits)


def _limits(limits: dict[str, float]) -> str:
    return listed([f"{_WORDS[name]} within {figure(limit)} ms" for name, limit in limits.items()])
