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
    _write(figure, card.kicker, (_LEFT, 0.955), 11, muted, width=_RIGHT - _LEFT, lines=1)
    _write(figure, card.title, (_LEFT, 0.905), 19, ink, width=_RIGHT - _LEFT, lines=1, bold=True)
    width = (_RIGHT - _LEFT - _GAP * (len(card.columns) - 1)) / len(card.columns)
    for number, column in enumerate(card.columns):
        left = _LEFT + number * (width + _GAP)
        _write(figure, column.topic, (left, 0.835), 11, muted, width=width, lines=1)
        top = _write(figure, column.choice, (left, 0.8), 16, palette()["accent"], width=width, lines=2, bold=True)
        _write(figure, column.why, (left, top - 0.01), 11, ink, width=width, lines=3)
        if column.chart is not None:
            _draw(figure, column.chart, left, width)
    top = 0.21
    for line in card.lines:
        top = _write(figure, line, (_LEFT, top), 11.5, ink, width=_RIGHT - _LEFT, lines=2) - 0.008
    _write(figure, card.footer, (_LEFT, 0.05), 9.5, muted, width=_RIGHT - _LEFT, lines=2)
    if card.watermark:
        figure.text(
            0.5, 0.45, card.watermark, ha="center", va="center", rotation=20, fontsize=90, color=muted, alpha=0.2
        )
    return figure


def _draw(figure: Any, chart: Chart, left: float, width: float) -> None:
    """The chart in its column, with as much room on the left as the names of its rows take."""
    axes = figure.add_axes((left, 0.31, width, 0.25))
    parts = [name.partition("\n") for name in chart.y.names]
    names = [", ".join(filter(None, (_cut(named), beneath))) for named, _, beneath in parts]
    x = replace(chart.x, title=f"{chart.x.title}, with simultaneous 95\u00a0% intervals")
    draw_chart(axes, replace(chart, x=x, y=replace(chart.y, names=names)))
    axes.tick_params(labelsize=8.5)
    axes.tick_params(axis="y", labelsize=min(8.5, 95 / max(1, len(names))))
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    room = max([box.width for box in boxes], default=0) / SIZE[0] + _TICK
    axes.xaxis.label.set(x=1.0, horizontalalignment="right")
    axes.set_position((left + room, 0.31, width - room - 0.02, 0.25))
    if chart.named:
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=2, frameon=False, fontsize=8, borderpad=0)


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
    step = size * 1.35 * _DPI / 72 / SIZE[1]
    for number, row in enumerate(rows):
        figure.text(left, top - number * step, row, fontsize=size, **how)
    return top - len(rows) * step
