"""The distribution of a latency over requests."""

from __future__ import annotations

from base.figures import figure
from reports.analysis.records import LEVELS, Analysis, Cell
from reports.document.blocks import Plot
from reports.document.chart import Axis, Chart, Marks, at_least, needs_log, ramp
from reports.document.wording import name

# The page has a tooltip's text for each of these.
_POINTED_OUT = {level for level in LEVELS if level % 5 == 0 or not 1 < level < 99}
DISTRIBUTIONS = {"ttft_ms": "TTFT", "tpot_ms": "TPOT", "e2e_ms": "E2E"}


def distribution_plot(analysis: Analysis, workload: str, key: str) -> Plot:
    """The cumulative distribution of a latency over requests, a line for each configuration."""
    title = f"{workload}: {DISTRIBUTIONS[key]}"
    found = [
        (c.info, values)
        for c in analysis.configurations
        if (values := analysis.cell(c.info.label, workload).distributions[key])
    ]
    if not found:
        return Plot(title, absent="no completed request has one")
    marks = []
    for number, (info, values) in enumerate(found):
        hover = [
            f"{name(info)}\n{level:.4g} % within {figure(ms)} ms" if level in _POINTED_OUT else ""
            for level, ms in zip(LEVELS, values, strict=False)
        ]
        marks.append(
            Marks(
                values,
                [level / 100 for level in LEVELS[: len(values)]],
                name(info),
                "ink" if info.is_baseline else ramp(number, len(found)),
                line="solid",
                width=2.5 if info.is_baseline else 1.5,
                hover=hover,
            )
        )
    summary = [f"{name(info)}: {_percentiles(analysis.cell(info.label, workload), key)}" for info, _ in found]
    ends = [end for _, values in found for end in (values[0], values[-1])]
    is_wide = needs_log(ends)
    axis = Axis("ms", None if is_wide else at_least(0.95 * min(ends), 1.05 * max(ends), []), log=is_wide)
    chart = Chart(axis, Axis("share of requests", (-0.02, 1.02), form="percent"), marks, height=260)
    return Plot(title, "", f"{title}. {'; '.join(summary)}.", chart)


def _percentiles(cell: Cell, key: str) -> str:
    """The percentiles that there are enough requests for."""
    known = [f"p{p.percentile:g} {figure(p.value)} ms" for p in cell.percentiles[key] if p.value is not None]
    return ", ".join(known) or f"{cell.requests} requests"
