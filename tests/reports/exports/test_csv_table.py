from __future__ import annotations

import csv
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reports.exports.csv_table import csv_text


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1"])
def test_text_that_a_spreadsheet_would_evaluate_has_an_apostrophe_before_it(text):
    (_, (cell,)) = csv.reader(io.StringIO(csv_text(["error"], [{"error": text}]), newline=""))
    assert cell == f"'{text}"


@pytest.mark.parametrize("value", [-1, -1.5, 0, "plain", "a=b", "1e-5", ""])
def test_numbers_and_other_text_stay_as_they_are(value):
    (_, cells) = csv.reader(io.StringIO(csv_text(["a", "b"], [{"a": value, "b": "x"}])))
    assert cells == [str(value), "x"]


def test_a_header_is_text_too_and_what_is_missing_is_empty():
    assert csv_text(["=a", "b"], [{"b": 1}]) == "'=a,b\n,1\n"


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # a busy machine is no failure
@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.text() | st.integers() | st.none())))
def test_no_cell_begins_like_a_formula_and_every_cell_reads_back(rows):
    read = list(csv.reader(io.StringIO(csv_text("abc", rows), newline="")))
    assert len(read) == len(rows) + 1
    for row, cells in zip(rows, read[1:], strict=True):
        for name, cell in zip("abc", cells, strict=True):
            value = row.get(name)
            if isinstance(value, str):
                assert cell.removeprefix("'") == value.removeprefix("'")
                assert cell.lstrip(" ")[:1] not in {"=", "+", "-", "@", "\t", "\r"}
            else:
                assert cell == ("" if value is None else str(value))
