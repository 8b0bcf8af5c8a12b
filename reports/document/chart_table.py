"""The values of a chart as a table, for readers who cannot see it or use a pointer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from base.figures import figure, percent
from reports.document.blocks import Plot, Row, Table, columns, text_row
from reports.document.chart import Axis, Chart, Marks
from reports.document.wording import ABSENT, TO, times

_ROWS = 40  # about as many as one screen shows; a distribution has hundreds of points


@dataclass(frozen=True)
class _Side:
    """What a point has along one axis."""

    axis: Axis
    has_intervals: bool
    value: str  # the fields of `Marks`
    low: str
    high: str

    @property
    def headings(self) -> list[str]:
        return [self.axis.title, *["95 % interval"] * self.has_intervals]

    def texts(self, marks: Marks, number: int) -> Iterator[str]:
        """The value of a point, and its interval if any has one."""
        yield _value(getattr(marks, self.value)[number], self.axis)
        if self.has_intervals:
            ends = [getattr(marks, end) for end in (self.low, self.high)]
            low, high = (end[number] if end else None for end in ends)
            yield ABSENT if low is None or high is None else f"{_value(low, self.axis)}{TO}{_value(high, self.axis)}"


def chart_table(plot: Plot) -> Table | None:
    """A row for each point that has a tooltip, thinned out evenly if there are many; None without such points."""
    if plot.chart is None:
        return None
    sides = _sides(plot.chart)
    series = [list(_rows(marks, sides)) for marks in plot.chart.marks]
    total = sum(map(len, series))
    if not total:
        return None
    step = -(-total // _ROWS)
    rows = [row for own in series for row in _thinned(own, step)]
    shown = "" if step == 1 else f" {len(rows)} of {total} points."
    heads = ["Point", *(heading for side in sides for heading in side.headings)]
    return Table(f"{plot.title}: values.{shown}", columns(*heads), rows)


def _sides(chart: Chart) -> list[_Side]:
    """The axes that have a quantity."""
    sides = ((chart.x, "x", "x_low", "x_high"), (chart.y, "y", "low", "high"))
    return [
        _Side(axis, any(getattr(marks, low) for marks in chart.marks), value, low, high)
        for axis, value, low, high in sides
        if not axis.names
    ]


def _rows(marks: Marks, sides: Sequence[_Side]) -> Iterator[Row]:
    for number, tooltip in enumerate(marks.hover or ()):
        if not tooltip:
            continue
        yield text_row(tooltip.partition("\n")[0], *(text for side in sides for text in side.texts(marks, number)))


def _thinned(rows: Sequence[Row], step: int) -> list[Row]:
    """Every `step`-th row, and the last."""
    return [row for number, row in enumerate(rows) if number % step == 0 or number == len(rows) - 1]


def _value(value: float, axis: Axis) -> str:
    if axis.form == "percent":
        return percent(value)
    return times(value) if axis.form == "ratio" else figure(value)
