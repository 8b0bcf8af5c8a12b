from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from energy.meters.base import EnergyError
from energy.meters.modelled import ModelledCpuMeter

BURN = "import time\nwhile time.process_time() < 0.5: pass\nprint('burnt', flush=True)\ninput()"


def start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> None:
    process.communicate("\n", timeout=20)


def test_it_states_its_assumption(tmp_path):
    info = ModelledCpuMeter(7.5, list).info
    assert info.measured is False
    assert (info.source, info.domain, info.name) == ("modelled-cpu", "cpu-modelled", "7.5 W per core, assumed")


def test_half_a_second_of_one_core_is_half_the_stated_watts():
    children: list[int] = []
    meter = ModelledCpuMeter(10.0, lambda: children)
    meter.read()
    child = start(BURN)
    children.append(child.pid)
    assert child.stdout is not None
    child.stdout.readline()
    joules = meter.read().joules
    finish(child)
    assert joules == pytest.approx(5.0, abs=0.5)  # start-up of the interpreter and ticks of 10 ms included


def test_what_a_process_used_stays_counted_when_it_ends():
    child = start(BURN)
    assert child.stdout is not None
    meter = ModelledCpuMeter(10.0, lambda: [child.pid, os.getpid()])
    meter.read()
    child.stdout.readline()
    while_alive = meter.read().joules
    finish(child)
    after = meter.read().joules
    assert while_alive is not None
    assert after is not None
    assert after >= while_alive > 0


def test_what_a_process_used_before_the_first_read_is_not_counted():
    child = start(BURN)
    assert child.stdout is not None
    child.stdout.readline()
    meter = ModelledCpuMeter(10.0, lambda: [child.pid])
    first, second = meter.read().joules, meter.read().joules
    finish(child)
    assert first == 0
    assert second == pytest.approx(0, abs=0.2)


def test_a_process_that_is_listed_late_but_started_early_counts_from_then():
    child = start(BURN)
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(0.05)
    listed: list[int] = []
    meter = ModelledCpuMeter(10.0, lambda: listed)
    meter.read()
    listed.append(child.pid)
    joules = meter.read().joules
    finish(child)
    assert joules == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("watts", [0.0, -1.0, float("nan"), float("inf")])
def test_watts_that_are_no_power_are_refused_by_their_key(watts):
    with pytest.raises(EnergyError, match="modelled_watts_per_core"):
        ModelledCpuMeter(watts, list)
