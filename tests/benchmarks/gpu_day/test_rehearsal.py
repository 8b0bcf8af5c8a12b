"""`deployment/gpu-day/run.sh` as it is used, for a minute or two on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RUN = ROOT / "deployment" / "gpu-day" / "run.sh"


def spend(output: Path, *words: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, **({} if path is None else {"PATH": path})}
    return subprocess.run(
        [RUN, "--output", output, "--rehearse", *words],
        env=environment,
        cwd=output.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def archived(output: Path) -> dict[str, bytes]:
    with tarfile.open(output / "results.tar.gz") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


@pytest.mark.slow
def test_a_rehearsal_of_the_first_three_stages_brings_nvml_energy_and_a_run_home(tmp_path):
    done = spend(tmp_path / "results", "--minutes", "60", "--stages", "a,b,c", "--engine", "synthetic")
    assert done.returncode == 0, done.stdout + done.stderr
    held = archived(tmp_path / "results")
    stages = json.loads(held["stages.json"])["stages"]
    assert [(one["letter"], one["status"]) for one in stages] == [("a", "done"), ("b", "done"), ("c", "done")]
    assert all(name in held for one in stages for name in one["files"])
    (gpu,) = json.loads(held["a/nvml.json"])["gpus"]
    assert gpu["Name"]["value"] == "Stand-in"
    energy = json.loads(held["b/energy.json"])
    assert energy["energy"]["load"]["counter"]["watts"] > 2 * energy["energy"]["idle"]["counter"]["watts"]
    assert {"counter", "samples", "instant", "average"} <= energy["lag"].keys()
    assert energy["lag"]["counter"]["seen"] > 0
    assert energy["pairs"]
    rows = json.loads(held["runs/c-synthetic/cells.json"])
    assert {row["width"] for row in rows} == {512, 384, 321, 256}
    assert {row["workload"] for row in rows} == {"single-request", "batch-4"}
    assert not [name for name in held if name.endswith(".safetensors")]


@pytest.mark.slow
def test_without_nvml_what_can_be_known_is_home_and_the_stages_say_why(tmp_path):
    tools = tmp_path / "bin"  # all that run.sh needs, and no gcc for the stand-in
    tools.mkdir()
    (tools / "dirname").symlink_to("/usr/bin/dirname")
    done = spend(tmp_path / "results", "--minutes", "2", "--stages", "a,b", path=f"{tools}")
    assert done.returncode == 1, done.stdout + done.stderr
    held = archived(tmp_path / "results")
    about = json.loads(held["stages.json"])
    assert about["notes"] == ["no stand-in for NVML: there is no gcc"]
    reasons = {one["letter"]: (one["status"], one["reason"]) for one in about["stages"]}
    assert reasons["a"] == ("failed", "status 1: nvmlInit: NVML Shared Library Not Found")
    assert reasons["b"][0] == "failed"
    assert "no GPU can be metered: no NVIDIA driver" in reasons["b"][1]
    assert json.loads(held["a/nvml.json"]) == {"error": "nvmlInit: NVML Shared Library Not Found"}


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--minutes", "0"), "must be above 0"), (("--minutes", "5", "--stages", "a,z"), "expected letters from a to g")],
)
def test_options_that_cannot_be_are_refused_before_anything_is_written(tmp_path, words, said):
    done = spend(tmp_path / "results", *words)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "results").exists()
