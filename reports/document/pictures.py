"""A chart as a picture: SVG for the page, paper and Markdown, PNG for slides, in the page's light colours.

Matplotlib draws it without its global state. External text is never parsed as mathematics, and characters that XML cannot represent
are removed. Equal charts give equal bytes. `reports.document.inline_svg` puts the SVG into the page.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from reports.document.chart import Axis, Band, Chart, Dash, Marks, Rule, Symbol, round_ticks

NO_CHARTS = "charts need matplotlib: pip install 'prunebench[report]'"
WIDTHS = {1: 500, 2: 480, 3: 330}  # CSS pixels of a picture, by the number side by side
BACKGROUND = "background"  # the id of the rectangles behind a picture and its axes
_DPI = 96
_CONTROL = re.compile(r"[^\t\n\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SYMBOLS: dict[Symbol, str] = {
    "circle": "o", "circle-open": "o", "square": "s", "diamond": "D", "triangle": "^", "cross": "x",
}  # fmt: skip
_DASHES: dict[Dash, str] = {"solid": "-", "dot": ":", "dash": "--"}
_STYLE = Path(__file__).parent / "templates" / "report.css"
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: smaller, searchable, and read aloud
    "svg.hashsalt": "prunebench",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Liberation Sans", "Arial"],
    "font.size": 9,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
}


class Point(NamedTuple):
    """A point that has a tooltip: its place from the picture's left and top edge, as shares of width and height."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Picture:
    """A chart as an SVG file, with the points that have a tooltip."""

    svg: bytes
    points: list[Point]


def draw_picture(chart: Chart, width: int = WIDTHS[2], watermark: str = "") -> Picture:
    """The chart as SVG; `width` is in CSS pixels."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    with _drawn(chart, width, watermark) as (figure, axes):
        file = io.BytesIO()
        FigureCanvasSVG(figure)
        _lay_out(figure)
        figure.canvas.print_svg(file, metadata={"Date": None, "Creator": "prunebench"})
        return Picture(file.getvalue(), _points(chart, figure, axes))


def can_draw() -> bool:
    """Whether what draws is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_png(chart: Chart, width: int = WIDTHS[2], watermark: str = "") -> bytes:
    """The chart as PNG with two pixels for each of CSS."""
    with _drawn(chart, width, watermark) as (figure, _):
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=2 * _DPI, metadata={"Software": "prunebench"})
        return file.getvalue()


@contextlib.contextmanager
def our_settings() -> Iterator[None]:
    """Matplotlib's settings for all that we draw, while it lasts."""
    from matplotlib import rc_context

    with rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a name may contain characters that the font lacks
        yield


def draw_chart(axes: Any, chart: Chart) -> None:
    """Draw a chart, without its legend, on axes of Matplotlib's."""
    axes.spines[:].set_color(palette()["muted"])
    for band in chart.bands:
        _draw_band(axes, band)
    for rule in chart.rules:
        _draw_rule(axes, rule)
    for marks in chart.marks:
        _draw_marks(axes, marks)
    _format_axis(axes, "x", chart.x, [x for m in chart.marks for x in m.x])
    _format_axis(axes, "y", chart.y, [y for m in chart.marks for y in m.y])


@contextlib.contextmanager
def _drawn(chart: Chart, width: int, watermark: str) -> Iterator[tuple[Any, Any]]:
    """The figure and its axes, under our settings."""
    from matplotlib.figure import Figure

    columns = max(1, width // 160)  # of the legend, each of whose rows has room of its own
    rows = math.ceil(chart.named / columns)
    height = chart.height + (4 + 18 * rows if rows else 0)
    with our_settings():
        figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, layout="constrained")
        axes = figure.add_subplot()
        figure.patch.set_gid(BACKGROUND)
        axes.patch.set_gid(BACKGROUND)
        draw_chart(axes, chart)
        if rows:
            figure.legend(
                loc="outside upper left",
                ncols=columns,
                frameon=False,
                fontsize=8.5,
                labelcolor=palette()["ink"],
                handlelength=1.6,
                columnspacing=1.2,
            )
        if watermark:
            axes.text(
                0.5, 0.5, watermark, transform=axes.transAxes, ha="center", va="center", rotation=20, fontsize=width / 14,
                color=palette()["muted"], alpha=0.25, zorder=0.6,
            )  # fmt: skip
        yield figure, axes


def _lay_out(figure: Any) -> None:
    """Find the room that texts need, once: `savefig` would draw everything a second time for it."""
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")


def _points(chart: Chart, figure: Any, axes: Any) -> list[Point]:
    """The places of all points with a tooltip; the figure is laid out."""
    place = axes.transData + figure.transFigure.inverted()
    return [
        Point(round(float(across), 4), round(1 - float(up), 4), text)
        for marks in chart.marks
        if marks.hover is not None
        for (across, up), text in zip(
            place.transform(list(zip(marks.x, marks.y, strict=True))), marks.hover, strict=True
        )
        if text
    ]


def _draw_marks(axes: Any, marks: Marks) -> None:
    colour = palette()[marks.colour]
    x, y = list(marks.x), list(marks.y)
    style: dict[str, Any] = {"color": colour, "label": drawable(marks.name) if marks.name else "_", "linestyle": "none"}
    if marks.line:
        style |= {
            "linestyle": _DASHES[marks.line],
            "linewidth": marks.width,
            "drawstyle": "steps-post" if marks.steps else "default",
        }
    if marks.symbol:
        filled = colour if marks.symbol != "circle-open" else "white"
        style |= {
            "marker": _SYMBOLS[marks.symbol], "markersize": 0.6 * marks.size, "markerfacecolor": filled,
            "markeredgecolor": colour, "markeredgewidth": 1.4 if marks.symbol in {"circle-open", "cross"} else 0,
        }  # fmt: skip
    if marks.faint:
        style["alpha"] = 0.45
    if marks.low is not None and marks.high is not None:
        axes.vlines(x, _ends(y, marks.low), _ends(y, marks.high), color=colour, linewidth=1.2)
    if marks.x_low is not None and marks.x_high is not None:
        axes.hlines(y, _ends(x, marks.x_low), _ends(x, marks.x_high), color=colour, linewidth=1.2)
    axes.plot(x, y, **style)
    for at_x, at_y, text in zip(x, y, marks.texts or [], strict=bool(marks.texts)):
        axes.annotate(
            drawable(text),
            (at_x, at_y),
            xytext=(4, 4 if marks.symbol else 0),
            textcoords="offset points",
            va="baseline" if marks.symbol else "center",
            fontsize=8.5,
            color=palette()["muted"],
        )


def _ends(values: Sequence[float], ends: Sequence[float | None]) -> list[float]:
    """Ends of intervals; the value itself where there is no interval."""
    return [value if end is None else end for value, end in zip(values, ends, strict=True)]


def _draw_rule(axes: Any, rule: Rule) -> None:
    draw = axes.axhline if rule.axis == "y" else axes.axvline
    draw(rule.at, color=palette()["muted"], linewidth=1.0, linestyle=_DASHES[rule.dash], alpha=0.7, zorder=0.9)


def _draw_band(axes: Any, band: Band) -> None:
    axes.axvspan(band.start, band.end, color=palette()["accent"], alpha=0.12, linewidth=0, zorder=0.5)
    if band.name:
        axes.annotate(
            drawable(band.name), ((band.start + band.end) / 2, 1), xycoords=("data", "axes fraction"), ha="center", va="top",
            fontsize=8, color=palette()["muted"],
        )  # fmt: skip


def _format_axis(axes: Any, which: Literal["x", "y"], axis: Axis, drawn: Sequence[float]) -> None:
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, PercentFormatter, StrMethodFormatter

    colours = palette()
    own = getattr(axes, f"{which}axis")
    own.set_label_text(drawable(axis.title), color=colours["ink"])
    axes.tick_params(axis=which, colors=colours["muted"], length=0)
    if axis.grid:
        axes.grid(visible=True, axis=which, color=colours["grid"], linewidth=0.8)
        axes.set_axisbelow(True)
    positive = [value for value in drawn if value > 0]
    if axis.log and positive:
        getattr(axes, f"set_{which}scale")("log")
        own.set_major_locator(FixedLocator(round_ticks(min(positive), max(positive))))
        own.set_minor_locator(NullLocator())
        own.set_major_formatter(StrMethodFormatter("{x:g}"))
        low, high = min(positive), max(positive)
        getattr(axes, f"set_{which}lim")(low * (low / high) ** 0.06 * 0.98, high * (high / low) ** 0.06 * 1.02)
    if axis.names:
        own.set_major_locator(FixedLocator(range(len(axis.names))))
        own.set_ticklabels([drawable(name) for name in axis.names])
    if axis.limits:
        getattr(axes, f"set_{which}lim")(*axis.limits)
    if axis.form == "ratio":
        own.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
        own.set_major_formatter(StrMethodFormatter("{x:.2f}"))
    elif axis.form == "percent":
        own.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol="\u00a0%"))


def drawable(text: str) -> str:
    """Text without characters that XML forbids; a name that begins with "_" is protected, since matplotlib omits it from the legend."""
    clean = _CONTROL.sub("", text)
    return f"\u200b{clean}" if clean.startswith("_") else clean


@functools.cache
def palette() -> dict[str, str]:
    """The light colours of the style sheet, by variable."""
    light = _STYLE.read_text("utf-8").partition("}")[0]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
