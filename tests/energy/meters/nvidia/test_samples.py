"""The driver's buffer of power samples, through the real nvidia-ml-py, on a simulated clock."""

from __future__ import annotations

import pytest

from energy.meters.nvidia.gpus import find_gpus
from energy.meters.nvidia.nvml import NvmlMeter
from energy.track import Track
from tests.energy.conftest import Simulation

NO_COUNTER = {"error.energy": 3, "error.field83": 3}


def only_meter() -> NvmlMeter:
    (meter,), _ = find_gpus()
    assert meter.info.source == "nvml-samples"
    return meter


def test_every_sample_counts_however_seldom_the_buffer_is_emptied(fake_gpus, simulated: Simulation):
    """Reads 1 s apart would miss all of a 50 ms period; the driver's samples do not."""
    fake_gpus({**NO_COUNTER, "watts": 400, "amplitude": 300, "period": 0.31})
    simulated.go_to(100.005)
    meter = only_meter()
    assert meter.info.refresh_s == pytest.approx(0.02)
    first, last = None, None
    for _ in range(30):
        simulated.sleep(1)
        reading = meter.read()
        first, last = first or reading, reading
    truth = simulated.joules(first.after_ns, last.after_ns)
    assert last.joules - first.joules == pytest.approx(truth, rel=2e-3)
    assert last.before_ns == last.after_ns <= simulated.now_ns


def test_nothing_new_in_the_buffer_is_a_gap_and_no_error(fake_gpus, simulated: Simulation):
    fake_gpus({**NO_COUNTER})
    simulated.go_to(50.005)
    meter = only_meter()
    reading = meter.read()
    assert (reading.joules, reading.watts, reading.error) == (None, None, None)
    simulated.sleep(0.02)
    assert meter.read().joules == pytest.approx(300 * 0.02, rel=1e-6)


@pytest.mark.parametrize("by_s", [3600.0, -3600.0])
def test_a_wall_clock_that_is_set_costs_a_gap_and_no_joules(fake_gpus, simulated: Simulation, by_s):
    fake_gpus({**NO_COUNTER})
    simulated.go_to(50.005)
    meter = only_meter()
    track = Track(meter.info, 10_000)
    for step in range(1, 400):
        if step == 200:
            simulated.set_wall_clock(by_s)
        simulated.sleep(0.05)
        track.append(meter.read())
    trace = track.since(0)
    assert track.reason is None
    assert [failed.reason for failed in trace.failed_reads] == ["the wall clock was set"]
    seconds = (trace.after_ns[-1] - trace.after_ns[0]) / 1e9
    assert seconds == pytest.approx(398 * 0.05, abs=0.05)
    assert trace.joules[-1] - trace.joules[0] == pytest.approx(300 * seconds, rel=1e-3)


def test_samples_of_another_clock_are_not_used(fake_gpus, simulated: Simulation):
    fake_gpus({**NO_COUNTER})
    simulated.go_to(50.005)
    simulated.our_wall_clock_s += 3600
    (meter,), _ = find_gpus()
    assert meter.info.source == "nvml-instant"
    assert "power samples: the samples are not stamped by this machine's clock" in meter.facts.unanswered


def test_a_sensor_that_sees_a_part_of_the_time_is_right_on_average(fake_gpus, simulated: Simulation):
    """25 ms of every 100 ms, as published for A100 and H100: fair as long as the load keeps no step with it."""
    fake_gpus(
        {**NO_COUNTER, "watts": 400, "amplitude": 300, "period": 0.317, "sample_period": 0.1, "sensor_window": 0.025}
    )
    simulated.go_to(100.05)
    meter = only_meter()
    assert meter.info.refresh_s == pytest.approx(0.1)
    simulated.sleep(0.1)
    first = meter.read()
    for _ in range(60):
        simulated.sleep(1)
        last = meter.read()
    assert last.joules - first.joules == pytest.approx(simulated.joules(first.after_ns, last.after_ns), rel=0.02)
