"""The trials of a run in their order, to show drift of the machine."""

from __future__ import annotations

from reports.analysis.quantities import QUANTITIES
from reports.analysis.records import Analysis
from reports.decision.answers import speed_quantity
from reports.document.blocks import Plot
from reports.document.chart import Axis, Chart, Marks, Rule, at_least
from reports.document.wording import name, times


def order_plot(analysis: Analysis, workload: str) -> Plot:
    """Every trial over the median of its own configuration, in the order of the run: drift of the machine shows as a slope."""
    key = speed_quantity(analysis, workload)
    title = f"{workload}: {QUANTITIES[key].title} in the order of the run"
    trials = [t for t in analysis.trials if t.workload == workload and key in t.values]
    if not trials:
        return Plot(title, absent="no trial of this workload is finished")
    medians = {c.label: c.values[key].median for c in analysis.cells if c.workload == workload}
    ratios = [t.values[key] / (medians[t.label] or t.values[key]) for t in trials]
    labels = {c.info.label: name(c.info) for c in analysis.configurations}
    marks = []
    for is_baseline in (False, True):
        own = [
            (t, r) for t, r in zip(trials, ratios, strict=True) if (t.label == analysis.info.baseline) == is_baseline
        ]
        marks.append(
            Marks(
                [t.order + 1 for t, _ in own],
                [r for _, r in own],
                colour="ink" if is_baseline else "accent",
                symbol="diamond" if is_baseline else "circle",
                size=8,
                hover=[f"{labels[t.label]}, block {t.block + 1}\n{times(r)} its median" for t, r in own],
            )
        )
    starts = {t.block: t.order for t in reversed(analysis.trials)}
    rules = [Rule(1.0), *(Rule(order + 0.5, "x", "solid") for order in sorted(starts.values())[1:])]
    lede = "Each trial over the median of its own configuration. Diamonds: baseline; vertical lines: blocks."
    alt = f"{title}: {len(trials)} trials between {times(min(ratios))} and {times(max(ratios))} of their configuration's median."
    axis = Axis("ratio to its median", at_least(0.95, 1.05, ratios), form="ratio")
    return Plot(title, lede, alt, Chart(Axis("trial", grid=False), axis, marks, rules))
