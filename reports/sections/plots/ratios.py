"""The plots of a run: what is drawn, with a sentence under the title and a text alternative.

A plot whose data are missing has no chart, and says the reason.
"""

from __future__ import annotations

from dataclasses import dataclass

from reports.analysis.quantities import JOULES, QUANTITIES, TPOT
from reports.analysis.records import LEVELS, Analysis, Cell, CellValue, ConfigurationFigures
from reports.decision.answers import speed_quantity
from reports.document.blocks import SIGNS, Plot
from reports.document.chart import Axis, Chart, Marks, Rule, Symbol, at_least, ramp
from reports.document.wording import figure, in_words, listed, mean_with_interval, name, times, with_interval
from reports.statistics.ratios import Comparison, Verdict

DISTRIBUTIONS = {"ttft_ms": "TTFT", "tpot_ms": "TPOT", "e2e_ms": "E2E"}
RATIO_AXIS = Axis("expansion ratio")
_VERDICTS: dict[Verdict | None, tuple[Symbol, str]] = {
    "better": ("circle", "better"),
    "worse": ("diamond", "worse"),
    "equivalent": ("square", "same"),
    "undecided": ("circle-open", "same"),
    None: ("cross", "same"),
}


@dataclass(frozen=True)
class Point:
    """A configuration that has a ratio to the baseline."""

    configuration: ConfigurationFigures
    value: CellValue
    comparison: Comparison

    @property
    def x(self) -> float:
        """Where it stands: the expansion ratio."""
        return self.configuration.info.expansion_ratio


def points_of(analysis: Analysis, workload: str, key: str) -> list[Point]:
    """The configurations whose quantity `key` has a ratio, in the order of the run."""
    points = []
    for configuration in analysis.configurations:
        value = analysis.cell(configuration.info.label, workload).values[key]
        if value.comparison is not None and value.comparison.ratio is not None:
            points.append(Point(configuration, value, value.comparison))
    return points


def ratio_plot(analysis: Analysis, workload: str, key: str, *, title: str | None = None) -> Plot:
    """A quantity's ratio to the baseline over the expansion ratio, intervals and single blocks with it."""
    quantity = QUANTITIES[key]
    title = title or quantity.title
    points = points_of(analysis, workload, key)
    if not points:
        return Plot(title, "", "", None, _why_absent(analysis, workload, key))
    baseline = analysis.baseline
    median = analysis.cell(baseline.info.label, workload).values[key].median if baseline else None
    lede = f"{quantity.better.capitalize()} is better." + (
        f" Baseline: {figure(median)} {quantity.unit}." if median else ""
    )
    marks = [_blocks(points), *_by_verdict(points, quantity.unit)]
    if baseline:
        marks.append(_baseline_mark(baseline))
    ratios = [ratio for p in points for ratio in p.comparison.ratios.values()]
    ends = [end for p in points for end in (p.comparison.low, p.comparison.high) if end is not None]
    # Two blocks may give an interval from 0.02 to 20, in which no ratio could be read any more.
    shown = [min(max(end, min(ratios) / 1.5), max(ratios) * 1.5) for end in ends]
    if shown != ends:
        lede += " Intervals go on beyond the axis."
    chart = Chart(
        RATIO_AXIS,
        Axis("ratio to the baseline", at_least(0.9, 1.1, [*ratios, *shown]), form="ratio"),
        marks,
        [Rule(1.0)],
    )
    said = [f"{name(p.configuration.info)}: {with_interval(p.comparison)}, {in_words(p.comparison)}" for p in points]
    return Plot(title, lede, f"{title}, ratio to the baseline: {'; '.join(said)}.", chart)


def distribution_plot(analysis: Analysis, workload: str, key: str) -> Plot:
    """What share of the requests took no longer than so many milliseconds, a line for each configuration."""
    title = f"{workload}: {DISTRIBUTIONS[key]}"
    found = [
        (c.info, values)
        for c in analysis.configurations
        if (values := analysis.cell(c.info.label, workload).distributions[key])
    ]
    if not found:
        return Plot(title, "", "", None, "no completed request has one")
    marks = []
    for number, (info, values) in enumerate(found):
        hover = [
            f"{name(info)}\n{level:.4g} % within {figure(ms)} ms" for level, ms in zip(LEVELS, values, strict=False)
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
    said = [f"{name(info)}: {_percentiles(analysis.cell(info.label, workload), key)}" for info, _ in found]
    ends = [end for _, values in found for end in (values[0], values[-1])]
    wide = min(ends) > 0 and max(ends) > 20 * min(ends)
    axis = Axis("ms", None if wide else at_least(0.95 * min(ends), 1.05 * max(ends), []), log=wide)
    chart = Chart(axis, Axis("share of requests", (-0.02, 1.02), form="percent"), marks, height=260, key="in pictures")
    return Plot(title, "", f"{title}. {'; '.join(said)}.", chart)


def quality_plot(analysis: Analysis, workload: str) -> Plot:
    """Perplexity over cost; the line joins the configurations that no other beats in both."""
    joules = any(c.values[JOULES].median is not None for c in analysis.cells if c.workload == workload)
    cost = QUANTITIES[JOULES if joules else TPOT]
    title = f"{workload}: perplexity against {cost.title}"
    found = []
    for configuration in analysis.configurations:
        quality = configuration.info.quality
        mean = analysis.cell(configuration.info.label, workload).values[cost.key].mean
        if quality and quality.perplexity and mean is not None:
            found.append((mean.mean, quality.perplexity, mean, configuration))
    if not found:
        return Plot(title, "", "", None, "no configuration has both a perplexity and this cost")
    front = _front([(x, y) for x, y, *_ in found])
    marks = [Marks([x for x, _ in front], [y for _, y in front], line="dot")]
    for beaten in (False, True):
        own = [one for one in found if ((one[0], one[1]) not in front) == beaten]
        marks.append(
            Marks(
                [x for x, *_ in own],
                [y for _, y, *_ in own],
                symbol="circle-open" if beaten else "circle",
                size=10,
                x_low=[mean.low for _, _, mean, _ in own],
                x_high=[mean.high for _, _, mean, _ in own],
                texts=[str(c.info.width) for *_, c in own],
                hover=[
                    f"{name(c.info)}\n{mean_with_interval(mean, cost.unit)}\nperplexity {y:.4g}"
                    for _, y, mean, c in own
                ],
            )
        )
    best = listed([name(c.info) for x, y, _, c in found if (x, y) in front])
    lede = "Lower left is better. Filled: no other configuration is better in both. Labels are widths. Bars: 95 % intervals over blocks."
    wide = max(y for _, y, *_ in found) > 5 * min(y for _, y, *_ in found)
    chart = Chart(Axis(f"{cost.title}, {cost.unit}"), Axis("perplexity", log=wide), marks)
    return Plot(title, lede, f"{title}. Not beaten in both: {best}.", chart)


def order_plot(analysis: Analysis, workload: str) -> Plot:
    """Every trial in the order it was run, against the median of its own configuration: what the machine did meanwhile."""
    key = speed_quantity(analysis, workload)
    title = f"{workload}: {QUANTITIES[key].title} in the order of the run"
    trials = [t for t in analysis.trials if t.workload == workload and key in t.values]
    if not trials:
        return Plot(title, "", "", None, "no trial of this workload is finished")
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
                hover=[f"{labels[t.label]}, block {t.block + 1}\n{r:.3f} of its median" for t, r in own],
            )
        )
    starts = {t.block: t.order for t in reversed(analysis.trials)}
    rules = [Rule(1.0), *(Rule(order + 0.5, "x", "solid") for order in sorted(starts.values())[1:])]
    lede = "Each trial over the median of its own configuration. Diamonds: baseline; vertical lines: blocks."
    alt = f"{title}: {len(trials)} trials between {times(min(ratios))} and {times(max(ratios))} of their configuration's median."
    axis = Axis("ratio to its median", at_least(0.95, 1.05, ratios), form="ratio")
    return Plot(title, lede, alt, Chart(Axis("trial", grid=False), axis, marks, rules))


def _percentiles(cell: Cell, key: str) -> str:
    """Those that the requests are enough for."""
    known = [f"p{p.percentile:g} {figure(p.value)} ms" for p in cell.percentiles[key] if p.value is not None]
    return ", ".join(known) or f"{cell.requests} requests"


def _why_absent(analysis: Analysis, workload: str, key: str) -> str:
    values = [c.values[key] for c in analysis.cells if c.workload == workload and c.label != analysis.info.baseline]
    reasons = [v.reason or (v.comparison.reason if v.comparison else None) for v in values]
    return next((reason for reason in reasons if reason), "there is nothing to compare")


def _blocks(points: list[Point]) -> Marks:
    """The ratio of every single block, faint."""
    pairs = [(p.x, ratio) for p in points for ratio in p.comparison.ratios.values()]
    return Marks([x for x, _ in pairs], [y for _, y in pairs], colour="muted", symbol="circle", size=4, faint=True)


def verdict_series() -> list[tuple[Verdict | None, Symbol, str]]:
    """Every verdict with its symbol and colour: shape and colour both say which."""
    return [(verdict, symbol, colour) for verdict, (symbol, colour) in _VERDICTS.items()]


def _by_verdict(points: list[Point], unit: str) -> list[Marks]:
    """Ratios with intervals, a series for each verdict."""
    series = []
    for verdict, symbol, colour in verdict_series():
        own = [p for p in points if p.comparison.verdict == verdict]
        if own:
            series.append(_ratios(own, unit, "", colour, symbol))
    return series


def _ratios(points: list[Point], unit: str, series: str, colour: str, symbol: Symbol) -> Marks:
    return Marks(
        [p.x for p in points],
        [p.comparison.ratio or 1.0 for p in points],
        series,
        colour,
        symbol,
        size=10,
        low=[p.comparison.low for p in points],
        high=[p.comparison.high for p in points],
        hover=[_hover(p, unit) for p in points],
    )


def _hover(point: Point, unit: str) -> str:
    """Name, median and ratio."""
    found = point.comparison
    sign = f" {SIGNS[found.verdict]} {in_words(found)}" if found.verdict else ""
    value = f"{figure(point.value.median or 0.0)} {unit}"
    return f"{name(point.configuration.info)}\n{value}\n{with_interval(found)}{sign}"


def _baseline_mark(baseline: ConfigurationFigures) -> Marks:
    hover = [f"baseline, {name(baseline.info)}"]
    return Marks([baseline.info.expansion_ratio], [1.0], colour="ink", symbol="square", size=8, hover=hover)


def _front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other point undercuts in both coordinates, by the first."""
    front: list[tuple[float, float]] = []
    for point in sorted(set(points)):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front
