"""Tables at the widths of terminals."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich import box
from rich.cells import cell_len
from rich.table import Table

from reports.document.console import Console

WIDTHS = (80, 100, 200)
WORD = st.text("abcdefgh0123456789é", min_size=1, max_size=14)
TEXT = st.lists(WORD, min_size=1, max_size=6).map(" ".join)
FIGURE = st.tuples(WORD, WORD).map(" ".join)  # with its unit or interval
COLUMN = st.tuples(TEXT, st.booleans())  # its heading, and whether it has figures


@st.composite
def tables(draw):
    columns = draw(st.lists(COLUMN, min_size=1, max_size=12))
    rows = draw(st.integers(0, 3))
    first = [draw(FIGURE if figures else TEXT) for _, figures in columns]
    alike = draw(st.integers(0, 4))  # cells of the first row that the others begin with
    cells = [first[:alike] + [draw(FIGURE if figures else TEXT) for _, figures in columns[alike:]] for _ in range(rows)]
    return columns, cells, draw(st.sampled_from([None, box.SIMPLE_HEAD, box.HEAVY_HEAD]))


def shown(columns, cells, drawn, width):
    table = Table(title="title " * 20, caption="caption " * 20, box=drawn or box.HEAVY_HEAD)
    if drawn is box.SIMPLE_HEAD:
        table.collapse_padding, table.pad_edge = True, False
    for heading, figures in columns:
        table.add_column(heading, justify="right" if figures else "left")
    for row in cells:
        table.add_row(*row)
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


@pytest.mark.parametrize("width", WIDTHS)
@given(made=tables())
def test_no_line_is_wider_than_the_terminal_and_every_word_is_whole(width, made):
    columns, cells, drawn = made
    out = shown(columns, cells, drawn, width)
    assert max(map(cell_len, out.splitlines())) <= width
    assert "title" in out
    assert "caption" in out
    for row in cells:
        for cell, (_, figures) in zip(row, columns, strict=True):
            for whole in [cell] if figures else cell.split():
                assert whole in out


def test_what_has_no_room_goes_beneath_with_the_first_column_again():
    columns = [("Width", True), *((f"Quantity {n}", True) for n in range(8))]
    out = shown(columns, [["1024", *["12.3 (11.9-12.8)"] * 8]], box.SIMPLE_HEAD, 80)
    assert out.count("1024") == out.count("Width") > 1
    assert out.count("12.3 (11.9-12.8)") == 8
    assert shown(columns, [["1024", *["12.3 (11.9-12.8)"] * 8]], box.SIMPLE_HEAD, 200).count("1024") == 1


def test_the_columns_that_tell_rows_apart_stand_in_each_part():
    columns = [("Configuration", False), ("Workload", False), *((f"Quantity {n}", True) for n in range(8))]
    rows = [[label, load, *["12.3 (11.9-12.8)"] * 8] for label in ("whole", "half") for load in ("single", "batch")]
    out = shown(columns, rows, box.SIMPLE_HEAD, 80)
    assert out.count("Configuration") == out.count("Workload") == out.count("whole") / 2 == out.count("batch") / 2 > 1
