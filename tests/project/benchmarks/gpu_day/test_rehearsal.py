"""`deployment/gpu-day/run.sh` as it is used, for a minute or two on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.captured import captured

ROOT = Path(__file__).parents[4]
RUN = ROOT / "deployment" / "gpu-day" / "run.sh"


def spend(output: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable}
    return captured([RUN, "--output", output, "--rehearse", *words], cwd=output.parent, env=environment)


def archived(output: Path) -> dict[str, bytes]:
    with tarfile.open(output / "results.tar.gz") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def check_records(output: Path, letters: str) -> dict[str, bytes]:
    """What came home, of a rehearsal of these stages that all were done."""
    held = archived(output)
    stages = json.loads(held["stages.json"])["stages"]
    assert [(one["letter"], one["status"]) for one in stages] == [(letter, "done") for letter in letters]
    assert all(name in held for one in stages for name in one["files"])
    return held


@pytest.mark.slow
def test_a_rehearsal_of_the_first_two_stages_brings_home_what_nvml_answers_and_what_the_counter_is_worth(tmp_path):
    done = spend(tmp_path / "results", "--minutes", "60", "--stages", "a,b")
    assert done.returncode == 0, done.stdout + done.stderr
    held = check_records(tmp_path / "results", "ab")
    (gpu,) = json.loads(held["a/nvml.json"])["gpus"]
    assert gpu["Name"]["value"] == "Stand-in"
    found = json.loads(held["b/energy.json"])
    assert found["energy"]["load"]["counter"]["watts"] > 2 * found["energy"]["idle"]["counter"]["watts"]
    assert {"counter", "samples", "instant", "average"} <= found["lag"].keys()
    assert found["lag"]["counter"]["seen"] > 0
    assert found["pairs"]
    assert found["refused"] == {"module": "Not Supported"}


@pytest.mark.slow
def test_a_rehearsal_without_a_model_brings_home_a_run_of_four_widths_and_its_report(tmp_path):
    done = spend(tmp_path / "results", "--minutes", "60", "--stages", "c,g", "--engine", "synthetic")
    assert done.returncode == 0, done.stdout + done.stderr
    held = check_records(tmp_path / "results", "cg")
    rows = json.loads(held["runs/c-synthetic/cells.json"])
    assert {row["width"] for row in rows} == {512, 384, 321, 256}
    assert {row["workload"] for row in rows} == {"single-request", "batch-4"}
    assert "runs/index.html" in held
    assert b"| width-321 | batch-4 |" in held["summary.md"]
    assert not [name for name in held if name.endswith(".safetensors")]


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--minutes", "0"), "must be above 0"), (("--minutes", "5", "--stages", "a,z"), "expected letters from a to g")],
)
def test_options_that_cannot_be_are_refused_before_anything_is_written(tmp_path, words, said):
    done = spend(tmp_path / "results", *words)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "results").exists()
