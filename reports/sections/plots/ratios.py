"""Ratios to the baseline over the expansion ratio, or in a row each, with their intervals and verdicts."""

from __future__ import annotations

from dataclasses import dataclass

from base.figures import figure
from reports.analysis.quantities import QUANTITIES
from reports.analysis.records import Analysis, CellValue, ConfigurationFigures
from reports.document.blocks import SIGNS, Plot
from reports.document.chart import Axis, Marks, Rule, Symbol, at_least
from reports.document.wording import in_words, name, with_interval
from reports.sections.plots.places import Places
from reports.statistics.ratios import Comparison, Verdict

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
    x: float  # the configuration's place


def points_of(analysis: Analysis, workload: str, key: str) -> list[Point]:
    """The configurations whose quantity `key` has a ratio, in the order of the run."""
    points = []
    places = Places.of(analysis)
    for configuration in analysis.configurations:
        value = analysis.cell(configuration.info.label, workload).values[key]
        if value.comparison is not None and value.comparison.ratio is not None:
            points.append(Point(configuration, value, value.comparison, places.at[configuration.info.label]))
    return points


def ratio_plot(analysis: Analysis, workload: str, key: str, *, title: str | None = None) -> Plot:
    """A quantity's ratio to the baseline, with its intervals and the ratios of single blocks."""
    quantity = QUANTITIES[key]
    title = title or quantity.title
    points = points_of(analysis, workload, key)
    if not points:
        why = analysis.why_uncompared(workload, key)
        return Plot(title, absent=why or "there is nothing to compare")
    baseline = analysis.baseline
    median = analysis.cell(baseline.info.label, workload).values[key].median if baseline else None
    lede = f"{quantity.better.capitalize()} is better." + (
        f" Baseline: {figure(median)} {quantity.unit}." if median else ""
    )
    places = Places.of(analysis)
    marks = [_blocks(points), *_by_verdict(points, quantity.unit)]
    if baseline:
        marks.append(_baseline_mark(baseline, places.at[baseline.info.label]))
    ratios = [ratio for p in points for ratio in p.comparison.ratios.values()]
    ends = [end for p in points for end in (p.comparison.low, p.comparison.high) if end is not None]
    # Two blocks may give an interval from 0.02 to 20, which would flatten every ratio.
    shown = [min(max(end, min(ratios) / 1.5), max(ratios) * 1.5) for end in ends]
    if shown != ends:
        lede += " Intervals extend beyond the axis."
    axis = Axis("ratio to the baseline", at_least(0.9, 1.1, [*ratios, *shown]), form="ratio")
    summary = [f"{name(p.configuration.info)}: {with_interval(p.comparison)}, {in_words(p.comparison)}" for p in points]
    return Plot(
        title, lede, f"{title}, ratio to the baseline: {'; '.join(summary)}.", places.chart(axis, marks, Rule(1.0))
    )


def _blocks(points: list[Point]) -> Marks:
    """The ratio of every single block, faint."""
    pairs = [(p.x, ratio) for p in points for ratio in p.comparison.ratios.values()]
    return Marks([x for x, _ in pairs], [y for _, y in pairs], colour="muted", symbol="circle", size=4, faint=True)


def verdict_series() -> list[tuple[Verdict | None, Symbol, str]]:
    """Every verdict with its symbol and colour; each of the two identifies it."""
    return [(verdict, symbol, colour) for verdict, (symbol, colour) in _VERDICTS.items()]


def _by_verdict(points: list[Point], unit: str) -> list[Marks]:
    """Ratios with intervals, a series for each verdict."""
    series = []
    for verdict, symbol, colour in verdict_series():
        own = [p for p in points if p.comparison.verdict == verdict]
        if own:
            series.append(_ratios(own, unit, colour, symbol))
    return series


def _ratios(points: list[Point], unit: str, colour: str, symbol: Symbol) -> Marks:
    return Marks(
        [p.x for p in points],
        [p.comparison.ratio or 1.0 for p in points],
        colour=colour,
        symbol=symbol,
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


def _baseline_mark(baseline: ConfigurationFigures, x: float) -> Marks:
    hover = [f"baseline, {name(baseline.info)}"]
    return Marks([x], [1.0], colour="ink", symbol="square", size=8, hover=hover)
