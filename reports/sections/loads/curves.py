"""Throughput against latency, as the load rises."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from base.figures import figure
from loadgen.workloads.base import Workload
from reports.analysis.quantities import OUTPUT_TOKENS_PER_S, QUANTITIES
from reports.analysis.records import Analysis, ConfigurationFigures
from reports.document.blocks import Plot, Plots, Prose, Section
from reports.document.chart import Axis, Chart, Marks, needs_log, ramp
from reports.document.wording import listed, name

LATENCIES = ("median_ttft_ms", "p99_ttft_ms", "median_tpot_ms", "median_e2e_ms")
_LEDE = (
    "Each line is a configuration, each point a load; further right is more throughput, lower is less latency. Where a line turns up, "
    "the server saturates. A narrower width pays off if its line lies to the right of the baseline's at an acceptable latency."
)


def curves_section(analysis: Analysis) -> Section | None:
    """Curves for every family of workloads that differ in their load alone; None without a family."""
    plots = [
        _plot(analysis, title, names, key) for title, names in families(analysis.workloads).items() for key in LATENCIES
    ]
    return Section("curves", "Throughput against latency", [Prose(_LEDE, "lede"), Plots(plots)]) if plots else None


def families(workloads: dict[str, Workload]) -> dict[str, list[str]]:
    """Workloads that differ in load alone, lightest first, by a title for what they have in common."""
    found: dict[str, list[str]] = defaultdict(list)
    for workload_name, workload in workloads.items():
        found[_family(workload)].append(workload_name)
    return {title: sorted(names, key=lambda n: workloads[n].level) for title, names in found.items() if len(names) > 1}


def _family(workload: Workload) -> str:
    """A sweep's name, or kind and lengths. Single requests, batches and closed loops of equal lengths are one family."""
    if workload.swept_by:
        return workload.swept_by
    return f"{workload.family}, {workload.shape_words}"


def _plot(analysis: Analysis, family: str, names: Sequence[str], key: str) -> Plot:
    quantity = QUANTITIES[key]
    title = f"{quantity.title} ({family})"
    found = [(c, points) for c in analysis.configurations if len(points := _points(analysis, c, names, key)) > 1]
    if not found:
        reasons = [c.values[key].reason for c in analysis.cells if c.workload in names]
        why = next((reason for reason in reasons if reason), "no configuration has two loads that were measured")
        return Plot(title, absent=why)
    marks = []
    for number, (configuration, points) in enumerate(found):
        baseline = configuration.info.is_baseline
        marks.append(
            Marks(
                [x for _, x, _ in points],
                [y for _, _, y in points],
                name(configuration.info),
                "ink" if baseline else ramp(number, len(found)),
                "square" if baseline else "circle",
                size=7,
                line="solid",
                width=2.5 if baseline else 1.5,
                hover=[
                    f"{name(configuration.info)}, {load}\n{figure(x)} tokens/s\n{quantity.title} {figure(y)} {quantity.unit}"
                    for load, x, y in points
                ],
            )
        )
    summary = [
        f"{name(c.info)}: {listed([f'{figure(x)} tokens/s at {figure(y)} ms' for _, x, y in points])}"
        for c, points in found
    ]
    drawn = [y for _, points in found for _, _, y in points]
    axis = Axis(f"{quantity.title}, {quantity.unit}", log=needs_log(drawn))
    return Plot(title, "", f"{title}. {'; '.join(summary)}.", Chart(Axis("output tokens/s"), axis, marks, height=340))  # fmt: skip


def _points(
    analysis: Analysis, configuration: ConfigurationFigures, names: Sequence[str], key: str
) -> list[tuple[str, float, float]]:
    """Load, output tokens/s and latency, lightest load first."""
    points = []
    for workload in names:
        values = analysis.cell(configuration.info.label, workload).values
        x, y = values[OUTPUT_TOKENS_PER_S].median, values[key].median
        if x is not None and y is not None:
            points.append((workload, x, y))
    return points
