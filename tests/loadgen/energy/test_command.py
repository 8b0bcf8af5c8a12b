"""A metered command keeps its exit status, its signals and its figures apart from those that are missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from energy.records import MissingMeter
from energy.sampler import Sampler
from loadgen.energy.command import meter_command
from loadgen.energy.source import LocalEnergy


@pytest.fixture
def without_meter():
    sampler = Sampler([], [MissingMeter(source="nvml", reason="no driver answers", remedy="")], 0.05)
    yield LocalEnergy(sampler)
    sampler.stop()


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def test_without_a_meter_it_runs_and_its_joules_are_null_with_the_reason(without_meter) -> None:
    found = meter_command(python("raise SystemExit(3)"), without_meter, idle_s=60, modelled_watts_per_core=8.0)
    assert found.status == 3
    assert found.energy.gross_joules is None
    assert "no driver answers" in (found.energy.reason or "")
    assert found.idle_before is found.idle_after is None
    assert found.energy.modelled_joules == pytest.approx(8.0 * found.cpu_s)


def test_a_signal_that_ends_it_is_its_status_as_a_shell_has_it(without_meter) -> None:
    found = meter_command(python("import os; os.kill(os.getpid(), 9)"), without_meter, idle_s=0)
    assert found.status == 137


def test_its_cpu_time_has_that_of_its_children(without_meter) -> None:
    inner = "sum(range(3_000_000))"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {inner!r}])"
    found = meter_command(python(code), without_meter, idle_s=0)
    alone = meter_command(python("pass"), without_meter, idle_s=0)
    assert found.cpu_s > alone.cpu_s


def test_a_command_that_is_not_there_is_an_os_error(without_meter) -> None:
    with pytest.raises(FileNotFoundError):
        meter_command(["no-such-command"], without_meter, idle_s=0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_is_passed_on_and_ctrl_c_is_the_commands_own(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C goes to the whole group, as a terminal sends it; the command ends in its own way, and its status is reported."""
    ready = tmp_path / "ready"
    inner = f"""
import pathlib, signal, sys, time
signal.signal({int(number)}, lambda *_: sys.exit(5))
pathlib.Path({str(ready)!r}).touch()
time.sleep(60)
"""
    outer = f"""
import sys
from energy.sampler import Sampler
from loadgen.energy.command import meter_command
from loadgen.energy.source import LocalEnergy
source = LocalEnergy(Sampler([], [], 0.05))
sys.exit(meter_command({python(inner)!r}, source, idle_s=0).status)
"""
    process = subprocess.Popen([sys.executable, "-c", outer], start_new_session=True)
    deadline = time.monotonic() + 60
    while not ready.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    assert process.wait(60) == 5
