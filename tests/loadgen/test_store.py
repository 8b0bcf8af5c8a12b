from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from loadgen.drive import TrialResult
from loadgen.records import REQUEST_SCHEMA, Flag
from loadgen.store import read_trial, write_trial
from tests.loadgen.made import failed, record, trial


def result(tokens=3):
    return TrialResult(trial(0, 100, gross_joules=6.0), [record(0, 0, 10, 30, tokens=tokens), failed(1, 30, 40)])


def test_what_is_written_is_what_is_read(tmp_path):
    write_trial(tmp_path / "a" / "trial", result(), [])
    assert read_trial(tmp_path / "a" / "trial") == result()


def test_the_folder_holds_the_three_files_and_the_callers_own(tmp_path):
    flag = Flag(check="failed-requests", outcome="warn", reason="one")
    write_trial(tmp_path / "t", result(), [flag], {"cell.json": "{}"})
    assert {p.name for p in tmp_path.iterdir()} == {"t"}
    assert {p.name for p in (tmp_path / "t").iterdir()} == {
        "requests.parquet",
        "trial.json",
        "summary.json",
        "cell.json",
    }
    summary = json.loads((tmp_path / "t" / "summary.json").read_text())
    assert (summary["joules_per_output_token"], summary["flags"][0]["check"]) == (2.0, "failed-requests")
    assert pq.read_schema(tmp_path / "t" / "requests.parquet").equals(REQUEST_SCHEMA)


def test_an_earlier_attempts_leftovers_are_replaced(tmp_path):
    (tmp_path / "t.partial").mkdir()
    (tmp_path / "t.partial" / "junk").touch()
    write_trial(tmp_path / "t", result(), [])
    write_trial(tmp_path / "t", result(tokens=4), [])
    assert read_trial(tmp_path / "t").records[0].output_tokens == 4
    assert not (tmp_path / "t" / "junk").exists()


def test_a_write_that_fails_leaves_no_folder_under_the_name(tmp_path):
    with pytest.raises(AttributeError):
        write_trial(tmp_path / "t", result(), [], {"cell.json": None})
    assert not (tmp_path / "t").exists()
