from __future__ import annotations

import pytest

from energy.curve import curve_of
from energy.records import Conditions, MeterInfo, MeterPower, PowerTimeline, WindowEnergy
from energy.timeline import MOST_STEPS, ClockPower, power_at_clocks, power_timeline
from tests.energy.known_power.simulate import Board, load_like, moment, steady, trace_of


@pytest.mark.parametrize("refresh_s", [0.0, 0.1, 0.7])
def test_the_area_under_the_power_is_the_energy(refresh_s):
    trace = Board(refresh_s=refresh_s).watch(load_like(3))
    [power] = power_timeline(trace_of(trace), moment(5), moment(30)).meters
    curve = curve_of(trace)
    end_ns = power.start_ns + len(power.watts) * power.step_ns
    area = sum(power.watts) * power.step_ns / 1e9
    assert area == pytest.approx(curve.at(end_ns) - curve.at(power.start_ns), rel=1e-3)
    assert power.step_ns >= refresh_s * 1e9 * 0.99
    assert moment(30) - end_ns < 2 * power.step_ns


def test_times_are_on_the_clock_of_who_asks():
    trace = trace_of(Board().watch(steady(300)))
    [power] = power_timeline(trace, moment(5), moment(20), offset_ns=10**12).meters
    assert power.start_ns == moment(5) - 10**12


def test_a_long_stretch_has_no_more_steps_than_a_plot_can_show():
    [power] = power_timeline(trace_of(Board(interval_s=0.5).watch(steady(300, 2000))), moment(1), moment(1900)).meters
    assert len(power.watts) <= MOST_STEPS
    assert power.watts == pytest.approx([300] * len(power.watts), rel=0.01)


def test_a_stretch_is_cut_to_what_was_read_and_a_meter_that_was_not_is_left_out():
    short, mute = (
        Board().watch(steady(300), seconds=10),
        Board(interval_s=50, device="GPU-1").watch(steady(300), seconds=10),
    )
    found = power_timeline(trace_of(short, mute), moment(-5), moment(60))
    assert [m.info.device for m in found.meters] == ["GPU-0000"]
    assert found.meters[0].start_ns > moment(0)
    assert len(found.meters[0].watts) * found.meters[0].step_ns < 10e9
    assert power_timeline(trace_of(short), moment(20), moment(60)).meters == []


def test_power_at_each_clock_is_the_mean_of_the_seconds_in_which_it_was_read():
    gpu = MeterInfo(source="nvml-counter", domain="gpu", device="GPU-1")
    watts = [9.0, 100.0] + [100.0] * 8 + [300.0] * 10 + [320.0] * 10  # of 0.1 s, the first before the window
    power = PowerTimeline(meters=[MeterPower(info=gpu, start_ns=0, step_ns=10**8, watts=watts)])
    seen = [(0.5, 1000), (1.5, 1980), (2.5, 1980), (9.0, 210)]  # s and MHz; power was not kept of the last
    conditions = [Conditions(at_ns=round(at * 1e9), device="GPU-1", sm_clock_mhz=clock) for at, clock in seen]
    others = [Conditions(at_ns=0, device="GPU-1"), Conditions(at_ns=0, device="GPU-2", sm_clock_mhz=1000)]
    window = WindowEnergy(start_ns=10**8, end_ns=10**10, conditions=conditions + others)
    assert power_at_clocks(power, window) == [
        ClockPower(device="GPU-1", sm_clock_mhz=1000, seconds=1, mean_watts=100.0),
        ClockPower(device="GPU-1", sm_clock_mhz=1980, seconds=2, mean_watts=310.0),
    ]
