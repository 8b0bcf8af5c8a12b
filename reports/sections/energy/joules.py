"""Joules per output token of every workload, measured and modelled apart."""

from __future__ import annotations

from reports.analysis.quantities import JOULES, MODELLED_JOULES, QUANTITIES
from reports.analysis.records import Analysis
from reports.document.blocks import Block, Items, Plots, Prose, Section
from reports.document.wording import PER_CELL
from reports.sections.plots.ratios import ratio_plot

_LEDE = "Joules over the load window divided by the output tokens that arrived in it, gross of idle power."


def energy_section(analysis: Analysis) -> Section:
    """A plot of measured joules for every workload, or the reason for its absence; modelled joules only where there are any."""
    title, names = QUANTITIES[JOULES].title, analysis.info.workloads
    modelled = [w for w in names if analysis.has_values(w, MODELLED_JOULES)]
    plots = [ratio_plot(analysis, w, JOULES, title=f"{w}: {title}, measured") for w in names]
    plots += [ratio_plot(analysis, w, MODELLED_JOULES, title=f"{w}: {title}, modelled, not measured") for w in modelled]
    blocks: list[Block] = [Prose(f"{_LEDE} {PER_CELL}", "lede")]
    if analysis.energy_remedies:
        blocks.append(Items([f"To measure it: {remedy}." for remedy in analysis.energy_remedies]))
    return Section("energy", "Energy", [*blocks, Plots(plots)])
