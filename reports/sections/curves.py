"""Throughput against latency: what a user waits for as the server is asked for more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from loadgen.workloads.base import Workload
from reports.analysis.quantities import OUTPUT_TOKENS_PER_S, QUANTITIES
from reports.analysis.records import Analysis, ConfigurationFigures
from reports.document.blocks import Plot, Plots, Prose, Section
from reports.document.chart import Axis, Chart, Marks, ramp
from reports.document.wording import figure, listed, name

LATENCIES = ("median_ttft_ms", "p99_ttft_ms", "median_tpot_ms", "median_e2e_ms")
_LEDE = (
    "Each line is a configuration, each point a load; further right is more work done, lower is less waiting. Where a line turns up, "
    "the server has had enough. A narrower width earns its place if its line lies to the right of the baseline's at a latency you can bear."
)


def curves_section(analysis: Analysis) -> Section | None:
    """A curve for every family of workloads that differ in how much is asked; None without one."""
    plots = [
        _plot(analysis, title, names, key) for title, names in families(analysis.workloads).items() for key in LATENCIES
    ]
    return Section("curves", "Throughput against latency", [Prose(_LEDE, "lede"), Plots(plots)]) if plots else None


def families(workloads: dict[str, Workload]) -> dict[str, list[str]]:
    """Workloads of one shape that differ in load alone, lightest first, under what they have in common."""
    found: dict[str, list[str]] = defaultdict(list)
    for workload_name, workload in workloads.items():
        found[_family(workload)].append(workload_name)
    return {title: sorted(names, key=lambda n: workloads[n].level) for title, names in found.items() if len(names) > 1}


def _family(workload: Workload) -> str:
    """A sweep's name, or kind and shape. A closed loop of 1, of 8, and a batch of 8 ask for more and more of the same."""
    if workload.swept_by:
        return workload.swept_by
    stop = "up to " if workload.natural_stop else ""
    return f"{workload.family}, {workload.prompt_tokens} prompt tokens, {stop}{workload.output_tokens} output tokens"


def _plot(analysis: Analysis, family: str, names: Sequence[str], key: str) -> Plot:
    quantity = QUANTITIES[key]
    title = f"{quantity.title} ({family})"
    found = [(c, points) for c in analysis.configurations if len(points := _points(analysis, c, names, key)) > 1]
    if not found:
        reasons = [c.values[key].reason for c in analysis.cells if c.workload in names]
        why = next((reason for reason in reasons if reason), "no configuration has two loads that were measured")
        return Plot(title, "", "", None, why)
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
    said = [
        f"{name(c.info)}: {listed([f'{figure(x)} tokens/s at {figure(y)} ms' for _, x, y in points])}"
        for c, points in found
    ]
    drawn = [y for _, points in found for _, _, y in points]
    wide = min(drawn) > 0 and max(drawn) > 20 * min(drawn)
    axis = Axis(f"{quantity.title}, {quantity.unit}", log=wide)
    return Plot(title, "", f"{title}. {'; '.join(said)}.", Chart(Axis("output tokens/s"), axis, marks, height=340))  # fmt: skip


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
