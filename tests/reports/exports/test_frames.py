"""A run as data frames: what a notebook gets is what the report says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import prunebench
from reports.errors import ReportError
from reports.runs.run_folder import RunFolder
from tests.reports.example_run import Example, write_run
from tests.support.lazy import Lazy

pd, pl = Lazy("pandas"), Lazy("polars")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"), Example(widths=(1024, 512), blocks=3))


@pytest.fixture(scope="module")
def run(folder):
    return prunebench.load_run(folder)


def comparison(run, quantity):
    cell = run.analysis.cell("width-512", "batch-8")
    return dict(cell)["values"][quantity]


def test_cells_have_the_report_s_ratios_with_their_intervals(run):
    cells = run.cells()
    assert isinstance(cells, pd.DataFrame)
    assert len(cells) == 4
    row = cells[(cells.label == "width-512") & (cells.workload == "batch-8")].iloc[0]
    found = comparison(run, "median_tpot_ms").comparison
    assert tuple(row[f"median_tpot_ms_ratio{end}"] for end in ("", "_low", "_high")) == (
        found.ratio,
        found.low,
        found.high,
    )


def test_trials_come_in_the_order_of_measurement_with_a_column_a_quantity(run, folder):
    trials = run.trials()
    assert list(trials.order) == sorted(trials.order)
    assert len(trials) == len(RunFolder(folder).trial_folders()) == 12
    medians = trials.groupby(["label", "workload"]).median_tpot_ms.median()
    assert medians["width-512", "batch-8"] == pytest.approx(comparison(run, "median_tpot_ms").median)


def test_requests_are_those_of_all_trials(run):
    requests = run.requests()
    assert len(requests) == 3 * 2 * (12 + 32)
    assert (requests.ttft_ms.dropna() > 0).all()


def test_checks_say_what_the_report_says(run):
    checks = run.checks().set_index("check")
    assert set(checks.outcome) <= {"pass", "warn", "fail", "unknown", "no-data"} | {
        c.outcome for c in run.analysis.checks
    }
    assert set(checks.index) == {c.check for c in run.analysis.checks}


@pytest.mark.parametrize("table", ["cells", "trials", "requests", "checks"])
def test_polars_holds_the_same_rows_and_columns(run, table):
    ours, theirs = getattr(run, table)("polars"), getattr(run, table)()
    assert isinstance(ours, pl.DataFrame)
    assert ours.columns == list(theirs.columns)
    assert ours.height == len(theirs)


def test_another_folder_or_library_is_refused_by_name(run, tmp_path):
    with pytest.raises(ReportError, match=r"run\.json"):
        prunebench.load_run(tmp_path)
    with pytest.raises(ReportError, match="pandas or polars"):
        run.cells("excel")


def test_the_notebook_in_examples_runs_from_its_first_cell_to_its_last(folder, monkeypatch):
    """Its code cells one after the other, as a kernel runs them."""
    notebook = json.loads(Path("examples/reading-a-run.ipynb").read_text("utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    monkeypatch.setenv("RUN", str(folder))
    names: dict[str, object] = {}
    for cell in cells:
        exec(compile(cell, "reading-a-run.ipynb", "exec"), names)  # noqa: S102 - our own file
    assert len(names["ratios"]) == 2
