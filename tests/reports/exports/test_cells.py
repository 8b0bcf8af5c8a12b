from __future__ import annotations

import csv
import html
import io
import json
import re
from typing import Any

import pyarrow.parquet as pq
import pytest

from reports.analysis.analyse import analyse_folder
from reports.exports.cells import as_csv, as_json, as_markdown, as_parquet, cell_rows
from tests.reports.example_run import BATCH, SINGLE, Example, write_run

EVIL = "=HYPERLINK(1)"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    small = (SINGLE.model_copy(update={"requests": 3}), BATCH.model_copy(update={"requests": 8}))
    example = Example(workloads=small, widths=(1024, 512), blocks=2, labels={512: EVIL}, noise=0.01)
    return cell_rows([analyse_folder(write_run(tmp_path_factory.mktemp("cells") / "run", example))])


def words(value: Any) -> str:
    return "" if value is None else str(value)


def test_json_and_parquet_hold_the_rows_themselves(rows):
    assert json.loads(as_json(rows)) == rows
    assert pq.read_table(io.BytesIO(as_parquet(rows))).to_pylist() == rows


def test_csv_holds_every_digit_and_no_formula(rows):
    read = list(csv.DictReader(io.StringIO(as_csv(rows).decode())))
    assert [row["label"] for row in read] == ["width-1024", f"'{EVIL}"] * 2
    assert [{k: v.removeprefix("'") for k, v in row.items()} for row in read] == [
        {key: words(value) for key, value in row.items()} for row in rows
    ]
    assert not re.search(r"(^|,)\"?[=@+]", as_csv(rows).decode(), re.MULTILINE)


def test_a_negative_number_stays_a_number():
    assert as_csv([{"net": -1.5, "text": "-1+1"}]).decode().splitlines()[1] == "-1.5,'-1+1"


def test_markdown_holds_every_figure_there_is(rows):
    text = as_markdown(rows).decode()
    tables = re.split(r"^## .*$", text, flags=re.MULTILINE)[1:]
    for row, table in zip(rows, tables, strict=True):
        found = dict(re.findall(r"^\| (\w+) \| (.*) \|$", table, re.MULTILINE))
        found.pop("Figure", None)
        unescaped = {key: html.unescape(re.sub(r"\\(.)", r"\1", value)) for key, value in found.items()}
        assert unescaped == {key: str(value) for key, value in row.items() if words(value)}


def test_without_rows_there_are_files_all_the_same():
    assert [render([]) for render in (as_csv, as_json, as_markdown)] == [b"", b"[]\n", b"\n"]
    assert pq.read_table(io.BytesIO(as_parquet([]))).num_rows == 0
