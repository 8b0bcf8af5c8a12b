"""Reports where matplotlib is not installed: text, tables and JSON, with the same figures."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

from prunebench.commands.compare import compare
from reports.build import build_report
from reports.errors import ReportError


@pytest.fixture
def _no_matplotlib(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name))


@pytest.fixture
def run(exact_run, tmp_path) -> Path:
    return shutil.copytree(exact_run, tmp_path / "run", ignore=shutil.ignore_patterns("report*", "cells*"))


@pytest.mark.usefixtures("_no_matplotlib")
def test_a_report_is_its_text_and_tables_and_names_the_extra_that_draws(run):
    notices: list[str] = []
    assert build_report([run], notice=notices.append) == run / "report.md"
    assert notices == [
        "report.html: not written: charts need matplotlib: pip install 'prunebench[report]'; report.md has all tables"
    ]
    assert {file.name for file in run.glob("report*")} == {"report.md", "report.json"}
    assert {file.suffix for file in run.glob("cells.*")} == {".csv", ".parquet", ".json", ".md"}
    assert "![" not in (run / "report.md").read_text()


@pytest.mark.usefixtures("blank_pictures")
def test_the_figures_are_the_same_with_and_without_charts(run, monkeypatch):
    build_report([run])
    written = {name: (run / name).read_bytes() for name in ("report.json", "cells.json", "cells.csv")}
    tables = [line for line in (run / "report.md").read_text().splitlines() if line.startswith("|")]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    build_report([run])
    assert {name: (run / name).read_bytes() for name in written} == written
    assert [line for line in (run / "report.md").read_text().splitlines() if line.startswith("|")] == tables


@pytest.mark.usefixtures("_no_matplotlib")
def test_pictures_that_were_asked_for_are_an_error_of_one_line(run):
    with pytest.raises(ReportError, match=re.escape("--png: charts need matplotlib: pip install 'prunebench[report]'")):
        build_report([run], png=True)


@pytest.mark.usefixtures("_no_matplotlib")
def test_a_comparison_as_a_page_is_an_error_of_one_line_and_as_text_needs_nothing(run):
    compare(run, run)
    with pytest.raises(ReportError, match=re.escape("--format html: charts need matplotlib: pip install")):
        compare(run, run, form="html")
