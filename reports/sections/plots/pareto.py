"""Quality against cost: the configurations that no other beats in both lie on the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from base.figures import figure, percent
from reports.analysis.quality.tasks import QualityFigures
from reports.analysis.quantities import E2E, JOULES, MODELLED_JOULES, OUTPUT_TOKENS_PER_S, QUANTITIES, TPOT
from reports.analysis.records import Analysis, ConfigurationFigures
from reports.decision.quality_evidence import guessed_tasks
from reports.document.blocks import Plot
from reports.document.chart import Axis, Chart, Marks
from reports.document.wording import is_named_by_width, listed, mean_with_interval, name, with_interval
from reports.statistics.ratios import Comparison, Interval

_LABELLED = 10  # points whose labels do not hide each other


@dataclass(frozen=True)
class _Point:
    """A configuration with its mean cost over blocks, and its quality with the interval of that."""

    configuration: ConfigurationFigures
    cost: Interval
    quality: float
    interval: Comparison | None = None

    @property
    def place(self) -> tuple[float, float]:
        return self.cost.mean, self.quality


def perplexity_plot(analysis: Analysis, workload: str) -> Plot:
    """Perplexity against measured joules, or against TPOT where there are none."""
    cost = QUANTITIES[analysis.quantity(JOULES if analysis.has_values(workload, JOULES) else TPOT)]
    title = f"{workload}: perplexity against {cost.title}"
    points = [
        _Point(c, mean, c.info.quality.perplexity)
        for c in analysis.configurations
        if c.info.quality and c.info.quality.perplexity
        if (mean := analysis.cell(c.info.label, workload).values[cost.key].mean)
    ]
    if not points:
        return Plot(title, absent="no configuration has both a perplexity and this cost")
    front = pareto_front([p.place for p in points], lower_x_is_better=True, lower_y_is_better=True)
    marks = _marks(points, front, lambda p: f"{mean_with_interval(p.cost, cost.unit)}\nperplexity {figure(p.quality)}")
    best = listed([name(p.configuration.info) for p in points if p.place in front])
    lede = f"Lower left is better. Filled: no other configuration is better in both.{_labels(points)} Bars: 95 % intervals over blocks."
    is_wide = max(p.quality for p in points) > 5 * min(p.quality for p in points)
    chart = Chart(Axis(f"{cost.title}, {cost.unit}"), Axis("perplexity", log=is_wide), marks)
    return Plot(title, lede, f"{title}. Not beaten in both: {best}.", chart)


def throughput_plot(analysis: Analysis, workload: str) -> Plot:
    """Throughput against the time of a request, or of a character where tokenizers differ."""
    cost, rate = (QUANTITIES[analysis.quantity(key)] for key in (E2E, OUTPUT_TOKENS_PER_S))
    title = f"{workload}: {rate.title} against {cost.title}"
    points = []
    for c in analysis.configurations:
        values = analysis.cell(c.info.label, workload).values
        if (mean := values[cost.key].mean) and (speed := values[rate.key].mean):
            interval = Comparison(ratio=speed.mean, low=speed.low, high=speed.high)
            points.append(_Point(c, mean, speed.mean, interval))
    if not points:
        return Plot(title, absent="no configuration has both")
    front = pareto_front([p.place for p in points], lower_x_is_better=True)
    marks = _marks(points, front, lambda p: f"{mean_with_interval(p.cost, cost.unit)}\n{figure(p.quality)} {rate.unit}")
    best = listed([name(p.configuration.info) for p in points if p.place in front])
    lede = f"Upper left is better. Filled: no other configuration is better in both.{_labels(points)} Bars: 95 % intervals over blocks."
    chart = Chart(Axis(f"{cost.title}, {cost.unit}"), Axis(f"{rate.title}, {rate.unit}"), marks)
    return Plot(title, lede, f"{title}. Not beaten in both: {best}.", chart)


def score_plots(analysis: Analysis, quality: QualityFigures) -> list[Plot]:
    """A plot a workload: scores against measured joules, or tokens/s where there are none; and against modelled joules, apart."""
    plots = []
    for workload in analysis.info.workloads:
        measured = analysis.has_values(workload, JOULES)
        key = analysis.quantity(JOULES if measured else OUTPUT_TOKENS_PER_S)
        plots.append(_score_plot(analysis, quality, workload, key))
        if analysis.has_values(workload, MODELLED_JOULES):
            plots.append(_score_plot(analysis, quality, workload, MODELLED_JOULES))
    return plots


def _score_plot(analysis: Analysis, quality: QualityFigures, workload: str, key: str) -> Plot:
    """The mean share kept of the fragile tasks, or of all where none is fragile."""
    cost = QUANTITIES[key]
    shares, count, kind = quality.fragile, len(quality.fragile_tasks), "fragile "
    if not count:
        shares, count, kind = quality.overall, len(quality.overall_tasks), ""
    title = f"{workload}: quality against {cost.title}" + (", not measured" if key == MODELLED_JOULES else "")
    points = []
    for configuration in analysis.configurations:
        info, interval = configuration.info, shares.get(configuration.info.label)
        share = 1.0 if info.is_baseline else interval.ratio if interval else None
        mean = analysis.cell(info.label, workload).values[key].mean
        if share is not None and mean is not None:
            points.append(_Point(configuration, mean, share, interval))
    if len(points) < 2:
        return Plot(title, absent="no two configurations have both all tasks and this cost")
    front = pareto_front([p.place for p in points], lower_x_is_better=cost.better == "lower")
    marks = _marks(
        points,
        front,
        lambda p: (
            f"{mean_with_interval(p.cost, cost.unit)}\nkeeps {with_interval(p.interval) if p.interval else percent(p.quality)}"
        ),
    )
    best = listed(
        [f"{name(p.configuration.info)}: {mean_with_interval(p.cost, cost.unit)}" for p in points if p.place in front]
    )
    side = "left" if cost.better == "lower" else "right"
    guessed = guessed_tasks(quality, analysis.info.baseline)
    noise = f" Noise: the baseline is not distinguishable from guessing on {listed(guessed)}." if guessed else ""
    lede = f"Upper {side} is better. Filled: the Pareto front, no other configuration is better in both.{_labels(points)} Bars: 95 % intervals, of the cost over blocks.{noise}"
    axis = Axis(f"mean share kept, {count} {kind}tasks", form="ratio")
    return Plot(
        title, lede, f"{title}. Not beaten in both: {best}.", Chart(Axis(f"{cost.title}, {cost.unit}"), axis, marks)
    )


def _labels(points: Sequence[_Point]) -> str:
    if len(points) > _LABELLED:
        return " Named: those and the baseline."
    return " Labels are widths." if all(is_named_by_width(p.configuration.info) for p in points) else ""


def _marks(
    points: Sequence[_Point], front: Sequence[tuple[float, float]], hover: Callable[[_Point], str]
) -> list[Marks]:
    """The front as a line, its points filled, the others open."""
    has_intervals = any(p.interval for p in points)
    marks = [Marks([x for x, _ in front], [y for _, y in front], line="dot")]
    for is_beaten in (False, True):
        own = [p for p in points if (p.place not in front) == is_beaten]
        marks.append(
            Marks(
                [p.cost.mean for p in own],
                [p.quality for p in own],
                symbol="circle-open" if is_beaten else "circle",
                size=10,
                low=[p.interval.low if p.interval else None for p in own] if has_intervals else None,
                high=[p.interval.high if p.interval else None for p in own] if has_intervals else None,
                x_low=[p.cost.low for p in own],
                x_high=[p.cost.high for p in own],
                texts=[_text(p, points, is_beaten=is_beaten) for p in own],
                hover=[f"{name(p.configuration.info)}\n{hover(p)}" for p in own],
            )
        )
    return marks


def _text(point: _Point, points: Sequence[_Point], *, is_beaten: bool) -> str:
    """The label beside a point: of many, only those of the front and the baseline have one, and each has a tooltip."""
    info = point.configuration.info
    return name(info).removeprefix("width ") if len(points) <= _LABELLED or not is_beaten or info.is_baseline else ""


def pareto_front(
    points: Sequence[tuple[float, float]], *, lower_x_is_better: bool, lower_y_is_better: bool = False
) -> list[tuple[float, float]]:
    """The points that no other beats in both coordinates, from the best x to the worst."""
    x_sign, y_sign = (1 if lower else -1 for lower in (lower_x_is_better, lower_y_is_better))
    front: list[tuple[float, float]] = []
    for point in sorted(set(points), key=lambda p: (x_sign * p[0], y_sign * p[1])):
        if not front or y_sign * point[1] < y_sign * front[-1][1]:
            front.append(point)
    return front
