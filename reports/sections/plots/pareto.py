"""The plots of quality tasks: what is kept against what it costs, and against the width."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.quality import Group, QualityFigures
from reports.analysis.quantities import JOULES, MODELLED_JOULES, OUTPUT_TOKENS_PER_S, QUANTITIES
from reports.analysis.records import Analysis, ConfigurationFigures
from reports.document.blocks import Plot
from reports.document.chart import SERIES, SYMBOLS, Axis, Chart, Marks, Rule, at_least
from reports.document.wording import listed, mean_with_interval, name, with_interval
from reports.statistics.ratios import Interval


def pareto_plots(analysis: Analysis, quality: QualityFigures) -> list[Plot]:
    """A plot a workload: against measured joules, or tokens/s where there are none; and against modelled joules, apart."""
    plots = []
    for workload in analysis.info.workloads:
        cells = [c for c in analysis.cells if c.workload == workload]
        measured = any(c.values[JOULES].median is not None for c in cells)
        plots.append(_pareto(analysis, quality, workload, JOULES if measured else OUTPUT_TOKENS_PER_S))
        if any(c.values[MODELLED_JOULES].median is not None for c in cells):
            plots.append(_pareto(analysis, quality, workload, MODELLED_JOULES))
    return plots


def _pareto(analysis: Analysis, quality: QualityFigures, workload: str, key: str) -> Plot:
    cost = QUANTITIES[key]
    shares, count, kind = quality.fragile, len(quality.fragile_tasks), "fragile "
    if not count:
        shares, count, kind = quality.overall, len(quality.overall_tasks), ""
    title = f"{workload}: quality against {cost.title}" + (", not measured" if key == MODELLED_JOULES else "")
    found: list[tuple[float, float, Interval, ConfigurationFigures]] = []
    for configuration in analysis.configurations:
        info, overall = configuration.info, shares.get(configuration.info.label)
        share = 1.0 if info.is_baseline else overall.ratio if overall else None
        mean = analysis.cell(info.label, workload).values[key].mean
        if share is not None and mean is not None:
            found.append((mean.mean, share, mean, configuration))
    if len(found) < 2:
        return Plot(title, "", "", None, "no two configurations have both all tasks and this cost")
    front = pareto_front([(x, y) for x, y, *_ in found], lower_x_is_better=cost.better == "lower")
    marks = [Marks([x for x, _ in front], [y for _, y in front], line="dot")]
    for beaten in (False, True):
        own = [one for one in found if ((one[0], one[1]) not in front) == beaten]
        intervals = [shares.get(c.info.label) for *_, c in own]
        marks.append(
            Marks(
                [x for x, *_ in own],
                [y for _, y, *_ in own],
                symbol="circle-open" if beaten else "circle",
                size=10,
                low=[i.low if i else None for i in intervals],
                high=[i.high if i else None for i in intervals],
                x_low=[mean.low for _, _, mean, _ in own],
                x_high=[mean.high for _, _, mean, _ in own],
                texts=[str(c.info.width) for *_, c in own],
                hover=[
                    f"{name(c.info)}\n{mean_with_interval(mean, cost.unit)}\nkeeps {y:.3f}" for _, y, mean, c in own
                ],
            )
        )
    side = "left" if cost.better == "lower" else "right"
    best = listed(
        [f"{name(c.info)}: {mean_with_interval(mean, cost.unit)}" for x, y, mean, c in found if (x, y) in front]
    )
    chart = Chart(
        Axis(f"{cost.title}, {cost.unit}"), Axis(f"mean share kept, {count} {kind}tasks", form="ratio"), marks
    )
    lede = f"Upper {side} is better. Filled: the Pareto front, no other configuration is better in both. Labels are widths. Bars: 95 % intervals, of the cost over blocks."
    return Plot(title, lede, f"{title}. Not beaten in both: {best}.", chart)


def pareto_front(points: Sequence[tuple[float, float]], *, lower_x_is_better: bool) -> list[tuple[float, float]]:
    """The points that no other beats in both, from the cheapest on; more of the second coordinate is better."""
    front: list[tuple[float, float]] = []
    sign = 1 if lower_x_is_better else -1
    for point in sorted(set(points), key=lambda p: (sign * p[0], -p[1])):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front


def kept_plot(analysis: Analysis, quality: QualityFigures, group: Group, title: str) -> Plot | None:
    """What each width keeps of the tasks of one group; None if there are none."""
    tasks = [t for t in quality.tasks if t.group == group]
    marks = []
    drawn: list[float] = []
    for number, task in enumerate(tasks):
        points = [
            (c.info, kept)
            for c in analysis.configurations
            if (kept := task.scores[c.info.label].kept) is not None and kept.ratio is not None
        ]
        if not points:
            continue
        shares = [kept.ratio or 0.0 for _, kept in points]
        drawn += [end for _, k in points for end in (k.ratio, k.low, k.high) if end is not None]
        marks.append(
            Marks(
                [info.expansion_ratio for info, _ in points],
                shares,
                task.task,
                f"series-{number % SERIES + 1}",
                SYMBOLS[number % len(SYMBOLS)],
                line="solid",
                low=[kept.low for _, kept in points],
                high=[kept.high for _, kept in points],
                hover=[f"{task.task}, {name(info)}\nkeeps {with_interval(kept)}" for info, kept in points],
            )
        )
    if not marks:
        return None
    chart = Chart(
        Axis("expansion ratio"), Axis("share of the baseline's score", at_least(0.9, 1.1, drawn), form="ratio"), marks, [Rule(1.0)]
    )  # fmt: skip
    said = [f"{t.task} loses {t.loss:.1%} per tenth" for t in tasks if t.loss is not None]
    return Plot(
        title,
        "Bars: 95 % intervals over items.",
        f"{title}: {'; '.join(said) or listed([t.task for t in tasks])}.",
        chart,
    )
