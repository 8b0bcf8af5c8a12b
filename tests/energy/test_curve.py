from __future__ import annotations

import math

import pytest

from energy.curve import NoEnergy, curve_of, integrate_power
from tests.energy.known_power.simulate import Board, load_like, moment, steady


def test_a_slow_counter_is_a_straight_line_between_its_moves_not_a_staircase():
    curve = curve_of(Board(refresh_s=0.5).watch(steady(200)))
    quarter_refresh = curve.at(moment(10.125)) - curve.at(moment(10.0))
    assert quarter_refresh == pytest.approx(200 * 0.125, rel=0.02)


def test_the_edge_error_of_a_counter_at_steady_power_is_the_documented_one():
    curve = curve_of(Board(refresh_s=0.1).watch(steady(300)))
    both_edges = math.sqrt(curve.variance_at(moment(10)) + curve.variance_at(moment(40)))
    assert both_edges == pytest.approx(0.41 * 300 * 0.1, rel=0.02)


def test_the_edge_error_grows_where_power_changes():
    curve = curve_of(Board(source="synthetic", refresh_s=0.0).watch(load_like(3)))
    quiet = curve_of(Board(source="synthetic", refresh_s=0.0).watch(steady(300)))
    assert max(curve.variance_at(moment(s / 10)) for s in range(50, 100)) > 100 * quiet.variance_at(moment(5))


def test_an_edge_in_a_silence_is_as_uncertain_as_the_silence_is_long():
    curve = curve_of(Board(silences=((10.0, 14.0),)).watch(steady(300)))
    assert math.sqrt(curve.variance_at(moment(12))) == pytest.approx(300 * 4 / math.sqrt(12), rel=0.1)


def test_before_the_first_reading_there_is_no_figure():
    curve = curve_of(Board().watch(steady(300)))
    with pytest.raises(NoEnergy, match=r"starts 1\.08 s before"):
        curve.at(moment(-1))


def test_a_little_past_the_last_reading_the_curve_goes_on_and_then_ends():
    curve = curve_of(Board(refresh_s=0.1).watch(steady(300), seconds=20))
    assert curve.at(moment(20.05)) - curve.at(moment(19.0)) == pytest.approx(1.05 * 300, rel=0.02)
    assert curve.variance_at(moment(20.05)) > curve.variance_at(moment(19.0))
    with pytest.raises(NoEnergy, match="after the meter's last usable reading"):
        curve.at(moment(20.4))


def test_a_failed_meter_is_not_carried_past_its_last_reading():
    trace = Board().watch(steady(300), seconds=20)
    failed = trace.model_copy(update={"reason": "the GPU is lost"})
    with pytest.raises(NoEnergy):
        curve_of(failed).at(moment(20.0))


def test_one_reading_is_not_zero_joules():
    trace = Board(interval_s=10).watch(steady(300), seconds=5)
    with pytest.raises(NoEnergy, match="fewer than two readings"):
        curve_of(trace)


def test_reported_power_is_integrated_to_the_edges():
    power = integrate_power(Board().watch(steady(300)), moment(10.013), moment(20.029))
    assert power.joules == pytest.approx(300 * 10.016, rel=1e-9)
    assert power.variance == 0


def test_power_that_was_silent_too_long_is_not_integrated():
    trace = Board(silences=((12.0, 15.0),)).watch(steady(300))
    with pytest.raises(NoEnergy, match="power was not read for 3"):
        integrate_power(trace, moment(10), moment(20))
    assert integrate_power(trace, moment(20), moment(30)).joules == pytest.approx(3000)
