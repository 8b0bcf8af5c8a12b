"""The values of a chart as a table, for those who cannot see or point at it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reports.document.blocks import Plot, Row, Table, columns, text_row
from reports.document.chart import Axis, Chart, Marks
from reports.document.wording import ABSENT, TO, figure, times

_ROWS = 40  # about as many as one screen shows; a distribution has hundreds of points


def chart_table(plot: Plot) -> Table | None:
    """A row for each point that has a tooltip, thinned out evenly if there are many; None without such points."""
    if plot.chart is None:
        return None
    series = [list(_rows(marks, plot.chart)) for marks in plot.chart.marks if marks.hover is not None]
    total = sum(map(len, series))
    if not total:
        return None
    step = -(-total // _ROWS)
    rows = [row for own in series for row in _thinned(own, step)]
    shown = "" if step == 1 else f" {len(rows)} of {total} points."
    heads = columns("Point", plot.chart.x.title, plot.chart.y.title, "95 % interval")
    return Table(f"{plot.title}: values.{shown}", heads, rows)


def _thinned(rows: Sequence[Row], step: int) -> list[Row]:
    """Every `step`-th row, and the last."""
    return [row for number, row in enumerate(rows) if number % step == 0 or number == len(rows) - 1]


def _rows(marks: Marks, chart: Chart) -> Iterator[Row]:
    for number, (x, y) in enumerate(zip(marks.x, marks.y, strict=True)):
        low = marks.low[number] if marks.low else None
        high = marks.high[number] if marks.high else None
        interval = ABSENT if low is None or high is None else f"{_value(low, chart.y)}{TO}{_value(high, chart.y)}"
        name = (marks.hover or [""])[number].partition("\n")[0]
        yield text_row(name, _value(x, chart.x), _value(y, chart.y), interval)


def _value(value: float, axis: Axis) -> str:
    if axis.form == "percent":
        return f"{figure(100 * value)} %"
    return times(value) if axis.form == "ratio" else figure(value)
