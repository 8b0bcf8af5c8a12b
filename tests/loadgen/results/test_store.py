from __future__ import annotations

import json
import pickle
import subprocess
import sys

import pytest

from energy.records import MeterInfo, MeterPower, PowerTimeline
from loadgen.records.checksums import find_changed, read_sums
from loadgen.records.schema import Flag
from loadgen.results.result import TrialResult
from loadgen.results.store import read_trial, write_trial
from tests.loadgen.made import failed, record, trial


def result(tokens=3):
    info = MeterInfo(source="rapl", domain="cpu-package", device="package-0")
    power = PowerTimeline(meters=[MeterPower(info=info, start_ns=5, step_ns=10, watts=[40.0, 41.5])])
    return TrialResult(trial(0, 100, gross_joules=6.0), [record(0, 0, 10, 30, tokens=tokens), failed(1, 30, 40)], power)


def test_what_is_written_is_what_is_read(tmp_path):
    write_trial(tmp_path / "a" / "trial", result(), [])
    assert read_trial(tmp_path / "a" / "trial") == result()


def test_the_folder_holds_its_files_and_the_callers_own(tmp_path):
    flag = Flag(check="failed-requests", outcome="warn", reason="one")
    write_trial(tmp_path / "t", result(), [flag], lambda sha256: {"cell.json": json.dumps(dict(sha256))})
    assert {p.name for p in tmp_path.iterdir()} == {"t"}
    assert {p.name for p in (tmp_path / "t").iterdir()} == {
        "requests.parquet",
        "trial.json",
        "summary.json",
        "power.json",
        "cell.json",
    }
    summary = json.loads((tmp_path / "t" / "summary.json").read_text())
    assert (summary["joules_per_output_token"], summary["flags"][0]["check"]) == (2.0, "failed-requests")
    sha256 = json.loads((tmp_path / "t" / "cell.json").read_text())
    assert sha256.keys() == {"requests.parquet", "trial.json", "summary.json", "power.json"}
    assert find_changed(tmp_path / "t", sha256) is None


def test_a_trial_that_stands_alone_is_verified_by_sha256sum(tmp_path):
    write_trial(tmp_path, result(), [])
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode == 0
    sums = read_sums(tmp_path)
    assert sums is not None
    assert len(sums) == 4
    (tmp_path / "trial.json").write_text("{}")
    assert (
        find_changed(tmp_path, sums)
        == f"{tmp_path / 'trial.json'}: has changed since it was written: its sha256 differs"
    )
    assert subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode == 1


def test_an_earlier_attempts_leftovers_are_replaced(tmp_path):
    for name in ("t.partial", "t.old.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "junk").touch()
    write_trial(tmp_path / "t", result(), [])
    write_trial(tmp_path / "t", result(tokens=4), [])
    assert read_trial(tmp_path / "t").records[0].output_tokens == 4
    assert not (tmp_path / "t" / "junk").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["t"]


def test_a_write_that_fails_leaves_no_folder_under_the_name(tmp_path):
    with pytest.raises(AttributeError):
        write_trial(tmp_path / "t", result(), [], lambda _: {"cell.json": None})
    assert not (tmp_path / "t").exists()


def test_a_write_that_fails_leaves_the_folder_that_was_there(tmp_path):
    write_trial(tmp_path / "t", result(), [])
    with pytest.raises(AttributeError):
        write_trial(tmp_path / "t", result(tokens=4), [], lambda _: {"cell.json": None})
    assert read_trial(tmp_path / "t") == result()


# Ends, as a killed process does, before the nth time a folder is renamed or removed.
_KILLED = """
import os, pathlib, pickle, shutil, sys
from loadgen.results.store import write_trial
left = int(sys.argv[2])
def dying(function):
    def call(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return function(*arguments, **options)
    return call
shutil.rmtree, pathlib.Path.rename = dying(shutil.rmtree), dying(pathlib.Path.rename)
write_trial(pathlib.Path(sys.argv[1]), pickle.load(sys.stdin.buffer), [])
"""


def test_whenever_the_process_is_killed_there_is_no_half_trial_under_the_name(tmp_path):
    for steps in range(6):
        folder = tmp_path / str(steps) / "t"
        write_trial(folder, result(), [])
        command = [sys.executable, "-c", _KILLED, folder, str(steps)]
        killed = subprocess.run(command, input=pickle.dumps(result(tokens=4)), check=False, capture_output=True)
        assert killed.returncode == (9 if steps < 5 else 0), killed.stderr
        # Between the two renames the name is free, and both trials are whole beside it.
        found = folder if folder.exists() else folder.with_name("t.old.partial")
        assert read_trial(found) == (result() if steps < 4 else result(tokens=4))
