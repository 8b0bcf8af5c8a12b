"""What dominates what, over all configurations: a table for each workload, and time against throughput."""

from __future__ import annotations

from base.figures import figure
from reports.analysis.quantities import QUANTITIES
from reports.analysis.records import Analysis
from reports.decision.dominance import Axes, Gap, axes_of, dominances, dominated_by
from reports.document.blocks import Block, Plots, Prose, Section, Table, columns, text_row
from reports.document.wording import ABSENT, TO, name, names, with_interval
from reports.sections.plots.pareto import throughput_plot
from reports.statistics.ratios import Comparison

_LEDE = (
    "One configuration dominates another where it is better on both axes and both intervals say so: loads in pairs within blocks, perplexity "
    "in pairs of windows of text, scores of tasks item by item. Intervals are 95 % for each pair and axis, not corrected for their number. What "
    "nothing dominates is left to choose from: with little data that is much."
)


def dominance_section(analysis: Analysis) -> Section | None:
    """None without two configurations under one workload."""
    if len(analysis.configurations) < 2 or not analysis.workloads:
        return None
    blocks: list[Block] = [Prose(_LEDE, "lede")]
    plots = [throughput_plot(analysis, w) for w, known in analysis.workloads.items() if not known.open_loop]
    for workload in analysis.workloads:
        for axes in axes_of(analysis, workload):
            blocks += _found(analysis, workload, axes)
    return Section("dominance", "What dominates what", [*blocks, *([Plots(plots)] if plots else [])])


def _found(analysis: Analysis, workload: str, axes: Axes) -> list[Block]:
    found, titles = dominances(analysis, workload, axes), [_title(key) for key in axes.keys]
    what = f"{workload}, {' and '.join(titles)}"
    if not found:
        return [Prose(f"{what}: nothing is shown to dominate anything.")]
    infos = {c.info.label: c.info for c in analysis.configurations}
    rows = [
        text_row(
            name(info),
            name(infos[own[0].better]),
            *map(_words, own[0].gaps),
            str(len(own) - 1),
        )
        for label, info in infos.items()
        if (own := dominated_by(found, label))
    ]
    beaten = {one.worse for one in found}
    left = [info for label, info in infos.items() if label not in beaten]
    headings = columns("Dominated", "By", *titles, "Others that do")
    return [Table(what, headings, rows, remarks=[f"Not dominated: {names(left)}."])]


def _title(key: str) -> str:
    return QUANTITIES[key].title if key in QUANTITIES else key


def _words(gap: Gap) -> str:
    """A ratio; of shares, the difference in percentage points: +12 points (8.1-15.9)."""
    if isinstance(gap, Comparison):
        return with_interval(gap) or ABSENT
    low, high = (ABSENT if end is None else figure(100 * end) for end in (gap.low, gap.high))
    return f"{100 * gap.mean:+.3g} points ({low}{TO}{high})"
