"""Tables that fit a terminal: text wraps at words, figures stay whole, and columns without room go into a further table beneath."""

from __future__ import annotations

import math
from copy import copy

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text, TextType

_UNLIMITED = 100_000  # columns
_MOST_KEYS = 3


def fitted(table: Table, console: Console, options: ConsoleOptions) -> list[RenderableType]:
    """Its title, one table or several, each with the columns that tell its rows apart, and its caption.

    None is wider than `options.max_width`, unless a word or figure is.
    """
    parts = _split(table, console, options)
    return [*_words(table.title, "table.title"), *parts, *_words(table.caption, "table.caption")]


def _split(table: Table, console: Console, options: ConsoleOptions) -> list[Table]:
    wide = options.update(width=_UNLIMITED)
    natural = Measurement.get(console, wide, table).maximum
    if natural <= options.max_width:
        return [_part(table, [*range(len(table.columns))], None)]
    ranges = [_range(console, wide, column) for column in table.columns]
    beside = math.ceil((natural - sum(most for _, most in ranges)) / len(ranges))  # a column's padding and rules
    keys = [*range(_keys(table))]
    if sum(ranges[n][0] + beside for n in keys) > options.max_width / 2:
        keys = [0]
    parts: list[list[int]] = [keys]
    for index in range(len(keys), len(ranges)):
        together = [*parts[-1], index]
        if parts[-1] != keys and sum(ranges[n][0] + beside for n in together) > options.max_width:
            together = [*keys, index]
            parts.append(together)
        parts[-1] = together
    room = options.max_width
    return [_part(table, part, _widths([ranges[n] for n in part], room - beside * len(part))) for part in parts]


def _keys(table: Table) -> int:
    """How many of the first columns tell the rows apart; the first alone where a few do not."""
    rows = [*zip(*(map(str, column.cells) for column in table.columns[:_MOST_KEYS]), strict=True)]
    counts = range(1, len(table.columns[:_MOST_KEYS]) + 1)
    return next((count for count in counts if len({row[:count] for row in rows}) == len(rows)), 1)


def _words(text: TextType | None, style: str) -> list[RenderableType]:
    return [] if text is None else [Text(text, style) if isinstance(text, str) else text]


def _range(console: Console, options: ConsoleOptions, column: Column) -> tuple[int, int]:
    """The widths between which a column may be: from its longest word, of figures their longest line, to its longest line."""
    header = Measurement.get(console, options, column.header)
    cells = [Measurement.get(console, options, cell) for cell in column.cells]
    most = max((cell.maximum for cell in cells), default=0)
    least = most if column.justify == "right" else max((cell.minimum for cell in cells), default=0)
    return max(least, header.minimum), max(most, header.maximum)


def _widths(ranges: list[tuple[int, int]], room: int) -> list[int] | None:
    """The widest column gives way first; None if there is not enough room for the words."""
    widths = [most for _, most in ranges]
    while sum(widths) > room:
        giving = [n for n, (least, _) in enumerate(ranges) if widths[n] > least]
        if not giving:
            return None
        widths[max(giving, key=widths.__getitem__)] -= 1
    return widths


def _part(table: Table, columns: list[int], widths: list[int] | None) -> Table:
    """A table of some of the columns."""
    part = copy(table)
    part.title = part.caption = None
    part.columns = [copy(table.columns[n]) for n in columns]
    for index, column in enumerate(part.columns):
        column._index = index  # noqa: SLF001 - by which rich finds a column's place
        column.width = widths[index] if widths else None
    return part
