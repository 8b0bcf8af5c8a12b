"""What the plots are drawn with: marks, axes and lines in plotly's own JSON."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import Any

from reports.analysis import Analysis, CellValue, ConfigurationFigures
from reports.statistics import Comparison, Verdict
from reports.table import SIGNS
from reports.wording import figure, name, with_interval

Json = dict[str, Any]
_MARKS: dict[Verdict | None, Json] = {
    "better": {"symbol": "circle", "size": 10, "color": "var(--better)"},
    "worse": {"symbol": "diamond", "size": 11, "color": "var(--worse)"},
    "no detectable difference": {"symbol": "circle-open", "size": 10, "color": "var(--same)", "line": {"width": 2}},
    None: {"symbol": "x-thin", "size": 9, "color": "var(--same)", "line": {"width": 2, "color": "var(--same)"}},
}


@dataclass(frozen=True)
class Point:
    """A configuration that has a ratio to the baseline."""

    configuration: ConfigurationFigures
    value: CellValue
    comparison: Comparison


def points_of(analysis: Analysis, workload: str, key: str) -> list[Point]:
    """The configurations whose quantity `key` has a ratio, in the order of the run."""
    points = []
    for configuration in analysis.configurations:
        value = analysis.cell(configuration.info.label, workload).values[key]
        if value.comparison is not None and value.comparison.ratio is not None:
            points.append(Point(configuration, value, value.comparison))
    return points


def baseline_of(analysis: Analysis) -> ConfigurationFigures | None:
    """The baseline, if it was started."""
    return next((c for c in analysis.configurations if c.info.is_baseline), None)


def block_marks(points: list[Point]) -> Json:
    """The ratio of every single block, faint."""
    pairs = [(p.configuration.info.expansion_ratio, ratio) for p in points for ratio in p.comparison.ratios.values()]
    return {
        "type": "scatter", "mode": "markers", "x": [x for x, _ in pairs], "y": [y for _, y in pairs], "hoverinfo": "skip",
        "marker": {"size": 4, "color": "var(--muted)", "opacity": 0.45},
    }  # fmt: skip


def verdict_marks(points: list[Point], unit: str) -> list[Json]:
    """Ratios with intervals, a trace for each verdict: shape and colour both say which."""
    traces = []
    for verdict, mark in _MARKS.items():
        own = [p for p in points if p.comparison.verdict == verdict]
        if own:
            traces.append(ratio_marks(own) | {"mode": "markers", "marker": mark, "text": [hover(p, unit) for p in own]})
            traces[-1]["error_y"]["color"] = mark["color"]
    return traces


def ratio_marks(points: list[Point]) -> Json:
    """Ratios with their intervals as error bars, which plotly wants as distances."""
    found = [p.comparison for p in points]
    ratios = [c.ratio or 1.0 for c in found]
    return {
        "type": "scatter",
        "x": [p.configuration.info.expansion_ratio for p in points],
        "y": ratios,
        "hovertemplate": "%{text}<extra></extra>",
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [(c.high or r) - r for c, r in zip(found, ratios, strict=True)],
            "arrayminus": [r - (c.low or r) for c, r in zip(found, ratios, strict=True)],
            "thickness": 1.5,
            "width": 4,
        },
    }


def hover(point: Point, unit: str) -> str:
    """Name, median and ratio; plotly reads markup in it, so names are escaped."""
    label, found = html.escape(name(point.configuration.info)), point.comparison
    sign = f" {SIGNS[found.verdict]} {found.verdict}" if found.verdict else ""
    return f"{label}<br>{figure(point.value.median or 0.0)} {unit}<br>{with_interval(found)}{sign}"


def baseline_mark(baseline: ConfigurationFigures, y: float) -> Json:
    """The baseline itself."""
    return {
        "type": "scatter", "mode": "markers", "x": [baseline.info.expansion_ratio], "y": [y],
        "hovertemplate": f"baseline, {html.escape(name(baseline.info))}<extra></extra>",
        "marker": {"symbol": "square", "size": 8, "color": "var(--ink)"},
    }  # fmt: skip


def at_least(low: float, high: float, drawn: list[float]) -> list[float]:
    """An axis range that holds what is drawn and is never narrower: differences of a percent must look small."""
    low, high = min([low, *drawn]), max([high, *drawn])
    margin = 0.04 * (high - low)
    return [low - margin, high + margin]


def round_ticks(values: list[float]) -> Json:
    """Ticks of a log axis at 1, 2 and 5 times powers of ten; plotly's own, every digit, overlap in a low plot."""
    powers = range(math.floor(math.log10(min(values))) - 1, math.ceil(math.log10(max(values))) + 1)
    return {"tickvals": [digit * 10.0**power for power in powers for digit in (1, 2, 5)], "tickformat": "~g"}


def plain_layout(x: str, y: str, *, height: int = 300) -> Json:
    """Transparent, without legend or zoom; `x` and `y` title the axes, `height` is in pixels."""

    def axis(title: str) -> Json:
        return {
            "title": {"text": title, "standoff": 8}, "gridcolor": "var(--grid)", "zeroline": False, "linecolor": "var(--rule)",
            "tickfont": {"color": "var(--muted)"}, "automargin": True, "fixedrange": True,
        }  # fmt: skip

    return {
        "height": height, "margin": {"l": 8, "r": 12, "t": 8, "b": 8}, "showlegend": False, "hovermode": "closest",
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "var(--sans)", "size": 12, "color": "var(--ink)"},
        "hoverlabel": {"bgcolor": "var(--card)", "bordercolor": "var(--rule)", "font": {"color": "var(--ink)"}},
        "xaxis": axis(x), "yaxis": axis(y),
    }  # fmt: skip


def level(y: float) -> Json:
    """A dashed line across at `y`."""
    return {
        "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "layer": "between",
        "line": {"color": "var(--muted)", "width": 1.5, "dash": "dash"},
    }  # fmt: skip


def upright(x: float) -> Json:
    """A thin vertical line at `x`."""
    return {
        "type": "line", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1, "layer": "between",
        "line": {"color": "var(--rule)", "width": 1},
    }  # fmt: skip
