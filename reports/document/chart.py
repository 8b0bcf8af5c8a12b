"""A chart as data: axes, marks, rules and bands, drawn by `reports.document.pictures`.

Colours are names of the style sheet's variables without their dashes ("accent", "better", "ramp-3"), because the page has two
themes. All text is plain; external names are passed unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Symbol = Literal["circle", "circle-open", "square", "diamond", "triangle", "cross"]
Dash = Literal["solid", "dot", "dash"]
SYMBOLS: tuple[Symbol, ...] = ("circle", "square", "diamond", "triangle", "cross")
RAMP = 8  # --ramp-1 … --ramp-8 of the style sheet
SERIES = 4  # --series-1 … --series-4


@dataclass(frozen=True)
class Axis:
    """`limits` are in the units of the data, also on a log axis; None derives them from the data.

    `names` are those of the values 0, 1, 2 …, which then are no quantity.
    """

    title: str
    limits: tuple[float, float] | None = None
    log: bool = False
    form: Literal["plain", "ratio", "percent"] = "plain"  # of the ticks
    grid: bool = True
    names: Sequence[str] = ()


@dataclass(frozen=True)
class Marks:
    """One series: points, a line, or both. Lists have one entry per point.

    `low` and `high` are the ends of intervals of y, `x_low` and `x_high` of x; `hover` is the tooltip of a point, empty where it has none;
    `texts` are labels beside the points, or without a symbol in their place.
    """

    x: Sequence[float]
    y: Sequence[float]
    name: str = ""  # in the legend; "": not in the legend
    colour: str = "accent"
    symbol: Symbol | None = None
    size: float = 9
    line: Dash | None = None
    width: float = 1.5
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    x_low: Sequence[float | None] | None = None
    x_high: Sequence[float | None] | None = None
    hover: Sequence[str] | None = None  # None: no tooltip
    texts: Sequence[str] | None = None
    faint: bool = False
    steps: bool = False  # the line holds each value until the next


@dataclass(frozen=True)
class Rule:
    """A line across the whole chart: horizontal at a value of `y`, or vertical at a value of `x`."""

    at: float
    axis: Literal["x", "y"] = "y"
    dash: Dash = "dash"


@dataclass(frozen=True)
class Band:
    """A shaded interval of `x`."""

    start: float
    end: float
    name: str = ""


@dataclass(frozen=True)
class Chart:
    """`height` is in pixels of a picture as wide as `reports.document.pictures.WIDTHS`."""

    x: Axis
    y: Axis
    marks: Sequence[Marks]
    rules: Sequence[Rule] = ()
    bands: Sequence[Band] = ()
    height: int = 300

    @property
    def named(self) -> int:
        """The number of series with a name, which the legend lists."""
        return sum(bool(marks.name) for marks in self.marks)


def at_least(low: float, high: float, drawn: Sequence[float]) -> tuple[float, float]:
    """Limits that contain `drawn` and are at least `low` to `high` apart: differences of a percent must look small."""
    low, high = min([low, *drawn]), max([high, *drawn])
    margin = 0.04 * (high - low)
    return low - margin, high + margin


def round_ticks(low: float, high: float) -> list[float]:
    """Ticks of a log axis at 1, 2 and 5 times powers of ten."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    return [digit * 10.0**power for power in powers for digit in (1, 2, 5)]


def ramp(position: int, count: int) -> str:
    """The colour of one of `count` ordered series, spread over the whole ramp."""
    return f"ramp-{1 + round(position * (RAMP - 1) / max(1, count - 1))}"


def series_style(number: int) -> tuple[str, Symbol]:
    """Colour and symbol of one of several unordered series."""
    return f"series-{number % SERIES + 1}", SYMBOLS[number % len(SYMBOLS)]


def needs_log(values: Sequence[float]) -> bool:
    """Whether positive values span more than a factor of 20, so that a linear axis would hide the small ones."""
    return min(values) > 0 and max(values) > 20 * min(values)
