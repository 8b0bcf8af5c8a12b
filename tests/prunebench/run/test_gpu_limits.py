"""A configuration under a power limit, on the stand-in NVML: in force while it is measured, and restored after kill -9."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reports.analysis.analyse import analyse_folder
from reports.runs.reading import read_run
from tests.energy.conftest import fake_library, settings_text
from tests.prunebench.conftest import on_tinyglu, one_at_a_time

__all__ = ["fake_library"]  # a fixture

pytestmark = pytest.mark.slow

EXPERIMENT = f"""{on_tinyglu("capped", token_ms=2)}
[protocol]
blocks = 2
[energy]
source = "local"
idle_s = 0.2
[[configurations]]
label = "plain"
[[configurations]]
label = "capped"
power_limit_w = 300
{one_at_a_time(20, prompt_tokens=8, output_tokens=40, name="one")}"""


def start(folder: Path, library: Path, *words: str, gpu: "dict[str, object] | None" = None) -> "subprocess.Popen[str]":
    (folder / "gpus.txt").write_text(settings_text({"power_limit": 500, **(gpu or {})}))
    (folder / "capped.toml").write_text(EXPERIMENT)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library.parent), "FAKE_NVML": str(folder / "gpus.txt")}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    command = [sys.executable, "-P", "-m", "prunebench", "run", "capped.toml", "--output", "out", *words]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def made(folder: Path) -> list[str]:
    file = folder / "gpus.txt.set"
    return [line.removeprefix("0 power_limit ") for line in file.read_text().splitlines()] if file.exists() else []


def test_the_limit_is_in_force_for_its_configuration_alone_and_its_check_passes(fake_library, tmp_path):
    run = start(tmp_path, fake_library, "--may-set-gpu-limits")
    said, _ = run.communicate(timeout=300)
    assert run.returncode == 0, said
    seen = {
        (t.cell.label, c.power_limit_watts)
        for t in read_run(tmp_path / "out").trials
        for c in t.trial.energy.conditions
    }
    assert seen == {("plain", 500.0), ("capped", 300.0)}
    assert made(tmp_path)[-1] == "500"
    assert "capped: power limit 300 W" in said
    (check,) = [one for one in analyse_folder(tmp_path / "out").checks if one.check == "clocks-differ"]
    assert check.outcome == "pass"


def test_the_limit_is_restored_after_kill_9_of_the_run(fake_library, tmp_path):
    run = start(tmp_path, fake_library, "--may-set-gpu-limits")
    deadline = time.monotonic() + 120
    while not (tmp_path / "out" / "trials").is_dir() or made(tmp_path)[-1:] != ["300"]:
        assert time.monotonic() < deadline, "waited in vain"
        assert run.poll() is None
        time.sleep(0.02)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    while made(tmp_path)[-1] != "500":
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_without_the_right_the_run_ends_in_one_line_before_there_is_a_folder(fake_library, tmp_path):
    run = start(tmp_path, fake_library, "--may-set-gpu-limits", gpu={"error.set_limit": 4})
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 2
    assert (
        said.strip()
        .splitlines()[-1]
        .startswith(
            "prunebench: configuration capped: power_limit_w: Stand-in 1000 (GPU-0000-aaaa): this user may not set it"
        )
    )
    assert not (tmp_path / "out").exists()
