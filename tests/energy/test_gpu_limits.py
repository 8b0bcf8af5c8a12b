"""Power limits and locked clocks on the stand-in NVML: set, verified, and restored however the process that set them ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from energy.gpu_limits import GpuLimiter, GpuLimitError, GpuLimits
from tests.energy.conftest import settings_text

FOUND = {"power_limit": 500}
HOLDER = """
import sys, time
from energy.gpu_limits import GpuLimiter, GpuLimits
limiter = GpuLimiter()
limiter.set(GpuLimits(power_limit_w=300, clock_mhz=1200))
print("set", flush=True)
time.sleep(600)
"""

Machine = Callable[..., Path]


@pytest.fixture
def machine(fake_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """GPUs for the processes that are started from here; the file has all that was set on them, in order."""

    def install(*gpus: dict[str, object]) -> Path:
        settings = tmp_path / "gpus.txt"
        settings.write_text(settings_text(*gpus))
        monkeypatch.setenv("LD_LIBRARY_PATH", str(fake_library.parent))
        monkeypatch.setenv("FAKE_NVML", str(settings))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        return tmp_path / "gpus.txt.set"

    return install


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def test_limits_hold_from_one_configuration_to_the_next_and_are_restored_at_the_end(machine):
    made = machine(FOUND, FOUND)
    limiter = GpuLimiter()
    limiter.set(GpuLimits())
    assert lines(made) == []  # nothing to set starts nothing
    limiter.set(GpuLimits(power_limit_w=300))
    limiter.set(GpuLimits(power_limit_w=300))
    assert lines(made) == ["0 power_limit 300", "1 power_limit 300"]
    limiter.set(GpuLimits(clock_mhz=1200))
    assert lines(made)[2:] == ["0 power_limit 500", "0 clock 1200", "1 power_limit 500", "1 clock 1200"]
    limiter.close()
    assert lines(made)[6:] == ["0 clock 1980", "1 clock 1980"]
    limiter.close()


@pytest.mark.parametrize(
    ("gpus", "wanted", "said"),
    [
        ([FOUND | {"error.set_limit": 4}], {"power_limit_w": 300}, r"^power_limit_w: Stand-in 1000 \(GPU-0000-aaaa\): this user may not set it, which takes root"),
        ([FOUND | {"error.set_clocks": 3}], {"clock_mhz": 900}, r"^clock_mhz: Stand-in 1000 \(GPU-0000-aaaa\): Not Supported$"),
        ([FOUND], {"power_limit_w": 900}, r"^power_limit_w: Stand-in 1000 \(GPU-0000-aaaa\) takes 200 to 700 W$"),
        ([], {"power_limit_w": 300}, "^power_limit_w, clock_mhz: the driver sees no GPU$"),
    ],
)  # fmt: skip
def test_what_cannot_be_set_is_one_line(machine, gpus, wanted, said):
    machine(*gpus)
    limiter = GpuLimiter()
    with pytest.raises(GpuLimitError, match=said):
        limiter.set(GpuLimits(**wanted))
    limiter.close()


def test_where_one_of_several_gpus_refuses_the_others_are_as_they_were_found(machine):
    made = machine(FOUND, FOUND | {"error.set_limit": 4})
    limiter = GpuLimiter()
    with pytest.raises(GpuLimitError, match="GPU-1000-aaaa"):
        limiter.set(GpuLimits(power_limit_w=300))
    assert lines(made) == ["0 power_limit 300", "0 power_limit 500"]
    limiter.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_limits_are_restored_after_the_process_that_set_them_is_killed(machine, number):
    made = machine(FOUND)
    holder = subprocess.Popen([sys.executable, "-P", "-c", HOLDER], stdout=subprocess.PIPE, text=True, process_group=0)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "set\n"
    assert lines(made) == ["0 power_limit 300", "0 clock 1200"]
    os.killpg(holder.pid, number)  # its whole group
    holder.communicate()
    deadline = time.monotonic() + 20
    while len(lines(made)) < 4:
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    assert lines(made)[2:] == ["0 power_limit 500", "0 clock 1980"]
