from __future__ import annotations

import pytest

from energy.curve import curve_of
from energy.timeline import MOST_STEPS, power_timeline
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
