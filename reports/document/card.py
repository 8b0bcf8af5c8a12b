"""A decision on one picture, for a chat or a slide."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from reports.document.chart import Chart
from reports.document.pictures import draw_chart, drawable, our_settings, palette

SIZE = (1200, 630)  # pixels
_DPI = 100
_LEFT, _RIGHT, _GAP = 0.035, 0.965, 0.03  # shares of the width
_TICK = 0.006  # between a chart and the names of its rows
_TEXT = 15  # points: 7 pixels where the card is shown a third as wide, 400 pixels
_CHART_TEXT = 14
_CHART = (0.29, 0.19)  # bottom and height, shares of the card's
_TICKS = 4
_LINES, _FOOTER = 0.2, 0.05  # tops of what is below the charts
_BETTER = {", lower is better": " \N{DOWNWARDS ARROW}", ", higher is better": " \N{UPWARDS ARROW}"}
_NAMES = 0.55  # the most that the names of rows may take of a chart's width
_LETTERS = 28  # of a row's name
_SPARE = 0.92  # of a line: letters of one line may be wider than those of the whole text


@dataclass(frozen=True)
class CardColumn:
    """An answer: what it is for, the choice, why, and the chart behind it."""

    topic: str
    choice: str
    why: str
    chart: Chart | None = None


@dataclass(frozen=True)
class Card:
    """`lines` stand below the columns, the price in quality first; `watermark` across everything."""

    kicker: str
    title: str
    columns: Sequence[CardColumn]
    lines: Sequence[str]
    footer: str
    watermark: str = ""


def draw_card(card: Card, form: Literal["svg", "png"]) -> bytes:
    """The card, `SIZE` pixels large."""
    with our_settings():
        figure = lay_out(card)
        file = io.BytesIO()
        metadata = {"Date": None, "Creator": "prunebench"} if form == "svg" else {"Software": "prunebench"}
        figure.savefig(file, format=form, dpi=_DPI, metadata=metadata)
        drawn = file.getvalue()
    if form == "png":
        return drawn
    return re.sub(rb'width="[\d.]+pt" height="[\d.]+pt"', b'width="%d" height="%d"' % SIZE, drawn, count=1)  # no points


def lay_out(card: Card) -> Any:
    """The card as a figure of Matplotlib's."""
    from matplotlib.figure import Figure

    ink, muted = palette()["ink"], palette()["muted"]
    figure = Figure(figsize=(SIZE[0] / _DPI, SIZE[1] / _DPI), dpi=_DPI, facecolor="white")
    _write(figure, card.kicker, (_LEFT, 0.965), _TEXT, muted, width=_RIGHT - _LEFT, lines=1)
    _write(figure, card.title, (_LEFT, 0.92), 22, ink, width=_RIGHT - _LEFT, lines=1, bold=True)
    width = (_RIGHT - _LEFT - _GAP * (len(card.columns) - 1)) / len(card.columns)
    for number, column in enumerate(card.columns):
        left = _LEFT + number * (width + _GAP)
        _write(figure, column.topic, (left, 0.835), _TEXT, muted, width=width, lines=1)
        top = _write(figure, column.choice, (left, 0.79), 20, palette()["accent"], width=width, lines=2, bold=True)
        _write(figure, column.why, (left, top - 0.005), _TEXT, ink, width=width, lines=3)
        if column.chart is not None:
            _draw(figure, column.chart, left, width)
    top = _LINES
    for number, line in enumerate(card.lines, 1):
        rows = int((top - _FOOTER) / _step(_TEXT)) - (len(card.lines) - number)
        top = _write(figure, line, (_LEFT, top), _TEXT, ink, width=_RIGHT - _LEFT, lines=max(1, rows)) - 0.002
    rows = 2 if top >= 2 * _step(_TEXT) else 1
    _write(figure, card.footer, (_LEFT, rows * _FOOTER), _TEXT, muted, width=_RIGHT - _LEFT, lines=rows)
    if card.watermark:
        figure.text(
            0.5, 0.45, card.watermark, ha="center", va="center", rotation=20, fontsize=90, color=muted, alpha=0.2
        )
    return figure


def _draw(figure: Any, chart: Chart, left: float, width: float) -> None:
    """The chart in its column, with as much room on the left as the names of its rows take."""
    from matplotlib.ticker import MaxNLocator

    bottom, height = _CHART
    axes = figure.add_axes((left, bottom, width, height))
    parts = [name.partition("\n") for name in chart.y.names]
    names = [", ".join(filter(None, (_cut(named), beneath))) for named, _, beneath in parts]
    x = replace(chart.x, title=f"{chart.x.title}, simultaneous 95\u00a0% intervals")
    draw_chart(axes, replace(chart, x=x, y=replace(chart.y, names=names)))
    axes.tick_params(labelsize=_CHART_TEXT)
    axes.xaxis.set_major_locator(MaxNLocator(_TICKS, steps=[1, 2, 5, 10]))
    for text in axes.texts:
        text.set_fontsize(_CHART_TEXT)
    size = min(_CHART_TEXT, 0.6 * height * SIZE[1] / max(1, len(names)))
    axes.tick_params(axis="y", labelsize=size)
    room = _widest(axes.get_yticklabels())
    if room > _NAMES * width:
        axes.tick_params(axis="y", labelsize=size * _NAMES * width / room)
        room = _widest(axes.get_yticklabels())
    axes.xaxis.label.set(x=1.0, horizontalalignment="right", fontsize=_CHART_TEXT)
    axes.set_position((left + room + _TICK, bottom, width - room - _TICK - 0.02, height))
    if chart.named:
        marks, names = axes.get_legend_handles_labels()
        axes.legend(
            marks, [_short(name) for name in names], loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=2, frameon=False,
            fontsize=_CHART_TEXT, borderpad=0, handletextpad=0.2,
        )  # fmt: skip


def _short(named: str) -> str:
    """A quantity with an arrow in place of the words that say which way is better."""
    for words, arrow in _BETTER.items():
        named = named.replace(words, arrow)
    return named


def _widest(labels: Sequence[Any]) -> float:
    """The widest of the texts, as a share of the card's width."""
    return max((label.get_window_extent().width for label in labels), default=0.0) / SIZE[0]


def _cut(named: str) -> str:
    return named if len(named) <= _LETTERS else f"{named[: _LETTERS - 1]}…"


def _write(
    figure: Any,
    text: str,
    at: tuple[float, float],
    size: float,
    colour: str,
    *,
    width: float,
    lines: int,
    bold: bool = False,
) -> float:
    """Text in at most `lines` lines, made smaller and then cut to fit; returns where the next may begin."""
    left, top = at
    text = drawable(text)
    how = {"ha": "left", "va": "top", "color": colour, "fontweight": "bold" if bold else "normal"}
    measured = figure.text(0, 0, text, fontsize=size, **how)
    letter = measured.get_window_extent().width / max(1, len(text)) / size
    measured.remove()
    smallest = size * 0.75
    while True:
        columns = int(_SPARE * width * SIZE[0] / max(letter * size, 1))
        rows = textwrap.wrap(text, columns)
        if len(rows) <= lines or size <= smallest:
            break
        size -= 0.5
    if len(rows) > lines:
        rows = [*rows[: lines - 1], textwrap.shorten(" ".join(rows[lines - 1 :]), columns, placeholder=" …")]
    step = _step(size)
    for number, row in enumerate(rows):
        figure.text(left, top - number * step, row, fontsize=size, **how)
    return top - len(rows) * step


def _step(size: float) -> float:
    """From one line of text to the next, as a share of the card's height."""
    return size * 1.35 * _DPI / 72 / SIZE[1]
