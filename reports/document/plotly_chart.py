"""A chart in plotly's JSON. Plotly interprets markup in every text, so this module escapes all of it.

Colours are names of the style sheet's variables; the page's script replaces them by those of the theme.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from reports.document.chart import Axis, Band, Chart, Marks, Rule, Symbol, round_ticks

Json = dict[str, Any]
_SYMBOLS: dict[Symbol, str] = {
    "circle": "circle", "circle-open": "circle-open", "square": "square", "diamond": "diamond", "triangle": "triangle-up", "cross": "x-thin",
}  # fmt: skip
_TICKS = {"plain": None, "ratio": ".2f", "percent": ".0%"}


def plotly_figure(chart: Chart) -> Json:
    """`data` and `layout`: transparent, without zoom or mode bar."""
    has_key = chart.has_legend and chart.key == "everywhere"
    layout: Json = {
        "height": chart.height, "margin": {"l": 8, "r": 16, "t": 8, "b": 8}, "showlegend": has_key, "hovermode": "closest",
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "var(--sans)", "size": 12, "color": "var(--ink)"},
        "hoverlabel": {"bgcolor": "var(--card)", "bordercolor": "var(--rule)", "font": {"color": "var(--ink)"}, "align": "left"},
        "xaxis": _axis(chart.x, [x for m in chart.marks for x in m.x]),
        "yaxis": _axis(chart.y, [y for m in chart.marks for y in m.y]),
        "shapes": [*map(_band, chart.bands), *map(_rule, chart.rules)],
        "annotations": [_band_name(band) for band in chart.bands if band.name],
    }  # fmt: skip
    if has_key:
        layout["legend"] = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 11}}
    return {"data": [_trace(marks) for marks in chart.marks], "layout": layout}


def safe(text: str) -> str:
    """Text that plotly shows verbatim."""
    return html.escape(text, quote=False)


def _axis(axis: Axis, drawn: Sequence[float]) -> Json:
    made: Json = {
        "title": {"text": safe(axis.title), "standoff": 8}, "gridcolor": "var(--grid)", "zeroline": False, "linecolor": "var(--rule)",
        "tickfont": {"color": "var(--muted)"}, "automargin": True, "fixedrange": True, "showgrid": axis.grid,
    }  # fmt: skip
    if _TICKS[axis.form]:
        made["tickformat"] = _TICKS[axis.form]
    positive = [value for value in drawn if value > 0]
    if axis.log and positive:
        # plotly's default ticks, at every digit, overlap in a low plot
        made |= {"type": "log", "tickvals": round_ticks(min(positive), max(positive)), "tickformat": "~g"}
    if axis.limits:
        made["range"] = [math.log10(end) for end in axis.limits] if axis.log else list(axis.limits)
    return made


def _trace(marks: Marks) -> Json:
    colour = f"var(--{marks.colour})"
    modes = [("lines", marks.line), ("markers", marks.symbol), ("text", marks.texts)]
    trace: Json = {
        "type": "scatter", "mode": "+".join(mode for mode, there in modes if there), "x": list(marks.x), "y": list(marks.y),
        "showlegend": bool(marks.name), "name": safe(marks.name),
    }  # fmt: skip
    if marks.line:
        trace["line"] = {
            "color": colour,
            "width": marks.width,
            "dash": marks.line,
            "shape": "hv" if marks.steps else "linear",
        }
    if marks.symbol:
        # An open or thin symbol consists of its line alone.
        width = 2 if marks.symbol in {"circle-open", "cross"} else 0
        trace["marker"] = {
            "symbol": _SYMBOLS[marks.symbol], "size": marks.size, "color": colour, "line": {"width": width, "color": colour},
            "opacity": 0.45 if marks.faint else 1,
        }  # fmt: skip
    if marks.texts:
        trace |= {
            "text": [safe(text) for text in marks.texts], "textposition": "top right", "cliponaxis": False,
            "textfont": {"size": 11, "color": "var(--muted)"},
        }  # fmt: skip
    if marks.low is not None and marks.high is not None:
        trace["error_y"] = _bars(marks.y, marks.low, marks.high, colour)
    if marks.x_low is not None and marks.x_high is not None:
        trace["error_x"] = _bars(marks.x, marks.x_low, marks.x_high, colour)
    if marks.hover is None:
        trace["hoverinfo"] = "skip"
    else:
        trace["customdata"] = [safe(text).replace("\n", "<br>") for text in marks.hover]
        trace["hovertemplate"] = "%{customdata}<extra></extra>"
    return trace


def _bars(values: Sequence[float], lows: Sequence[float | None], highs: Sequence[float | None], colour: str) -> Json:
    """Intervals as error bars, which plotly expects as distances from the value."""
    return {
        "type": "data", "symmetric": False, "thickness": 1.5, "width": 4, "color": colour,
        "array": [(value if high is None else high) - value for value, high in zip(values, highs, strict=True)],
        "arrayminus": [value - (value if low is None else low) for value, low in zip(values, lows, strict=True)],
    }  # fmt: skip


def _rule(rule: Rule) -> Json:
    along, across = ("y", "x") if rule.axis == "y" else ("x", "y")
    line = {"color": "var(--muted)", "width": 1.5 if rule.dash == "dash" else 1, "dash": rule.dash}
    return {
        "type": "line", f"{across}ref": "paper", f"{across}0": 0, f"{across}1": 1, f"{along}0": rule.at, f"{along}1": rule.at,
        "layer": "between", "line": line,
    }  # fmt: skip


def _band(band: Band) -> Json:
    return {
        "type": "rect", "yref": "paper", "x0": band.start, "x1": band.end, "y0": 0, "y1": 1, "layer": "below",
        "line": {"width": 0}, "fillcolor": "var(--accent-soft)",
    }  # fmt: skip


def _band_name(band: Band) -> Json:
    return {
        "x": (band.start + band.end) / 2, "y": 1, "yref": "paper", "yanchor": "top", "showarrow": False, "text": safe(band.name),
        "font": {"size": 10, "color": "var(--muted)"},
    }  # fmt: skip
