"""Net joules by the idle power around a load, by hand; how often the truth lies in the interval is tests/truth/energy/sim_energy's."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from energy.idle import IdleSpread, idle_spread, subtract_idle
from energy.records import IdleWindow, MeterEnergy, MeterInfo, WindowEnergy

GPU = MeterInfo(source="nvml-counter", domain="gpu", device="GPU-0")
SPREAD = IdleSpread(flicker=0.0, drift=0.0, pairs=5)


def window(start_s: float, end_s: float, watts: float | None, *, half_width: float = 0.0, device: str = "GPU-0"):
    joules = None if watts is None else watts * (end_s - start_s)
    return WindowEnergy(
        start_ns=round(start_s * 1e9),
        end_ns=round(end_s * 1e9),
        gross_joules=joules,
        gross_joules_uncertainty=None if joules is None else half_width * (end_s - start_s),
        reason="the server's meters did not answer" if joules is None else None,
        parts=[MeterEnergy(info=GPU.model_copy(update={"device": device}), joules=joules)],
    )


def idle(start_s: float, end_s: float, watts: float | None, *, halves: float = 0.0, half_width: float = 0.0):
    """`halves`: by how many watts the second half is above the first."""
    first = None if watts is None else (watts - halves / 2) * (end_s - start_s) / 2
    return IdleWindow(whole=window(start_s, end_s, watts, half_width=half_width), first_half_joules=first)


LOAD = window(20, 80, 300.0)


def test_idle_power_lies_on_the_line_between_before_and_after():
    found = subtract_idle(LOAD, idle(0, 10, 80.0), idle(90, 100, 98.0), SPREAD)
    assert found.idle_watts == pytest.approx(89.0)  # the load's middle is half way
    assert found.net_joules == pytest.approx(60 * (300 - 89))
    assert found.net_joules_uncertainty == pytest.approx(0.0)
    late = subtract_idle(window(65, 75, 300.0), idle(0, 10, 80.0), idle(90, 100, 98.0), SPREAD)
    assert late.idle_watts == pytest.approx(80 + 18 * 65 / 90)


def test_the_meter_alone_gives_what_two_measurements_of_equal_weight_leave():
    load = window(20, 80, 300.0, half_width=0.1)
    found = subtract_idle(load, idle(0, 10, 80.0, half_width=1.0), idle(90, 100, 80.0, half_width=1.0), SPREAD)
    assert found.net_joules_uncertainty == pytest.approx(60 * math.hypot(0.1, math.sqrt(0.5)))


def test_a_walk_leaves_the_line_by_the_variance_of_a_bridge():
    walk = IdleSpread(flicker=0.0, drift=0.5, pairs=4)
    found = subtract_idle(window(5, 95, 300.0), idle(4.9, 5.1, 80.0), idle(94.9, 95.1, 80.0), walk)
    off_the_line = math.sqrt(0.5 * 90 / 12)  # of the mean of a bridge over all of it
    assert found.net_joules_uncertainty == pytest.approx(90 * stats.t.ppf(0.975, 4) * off_the_line, rel=1e-3)


def test_without_idle_power_after_the_load_net_is_less_sure():
    before, walk = idle(0, 10, 80.0), IdleSpread(flicker=0.0, drift=0.5, pairs=4)
    whole = subtract_idle(LOAD, before, idle(90, 100, 80.0), walk)
    for after in (None, idle(90, 100, None)):  # never measured, or of a server that was gone
        found = subtract_idle(LOAD, before, after, walk)
        assert found.net_joules == pytest.approx(60 * 220)
        assert found.net_joules_uncertainty > 1.5 * whole.net_joules_uncertainty


def test_drift_is_estimated_from_changes_and_flicker_from_halves():
    pairs = [(idle(0, 10, 80.0), idle(90, 100, 80.0 + change)) for change in (3.0, -3.0, 3.0)]
    found = idle_spread(pairs)
    assert (found.flicker, found.pairs) == (0.0, 3)
    assert found.drift == pytest.approx(9 / (90 - 20 / 6))
    flickering = idle_spread([(idle(0, 10, 80.0, halves=2.0), idle(90, 100, 80.0, halves=-2.0))])
    assert flickering.flicker == pytest.approx(2.0**2 * 10 / 4)
    assert flickering.drift == 0.0


def test_what_the_meter_explains_is_neither_drift_nor_flicker():
    pair = (idle(0, 10, 80.0, halves=2.0, half_width=2.0), idle(90, 100, 81.0, halves=2.0, half_width=2.0))
    assert idle_spread([pair]) == IdleSpread(flicker=0.0, drift=0.0, pairs=1)


def test_a_load_without_idle_power_after_it_gives_no_drift():
    assert idle_spread([(idle(0, 10, 80.0), None), (idle(0, 10, 80.0), idle(90, 100, None))]) is None


@pytest.mark.parametrize(
    ("before", "spread", "words"),
    [
        (idle(0, 10, None), SPREAD, "idle power is not known: the server's meters did not answer"),
        (idle(0, 10, 80.0), None, "before the load alone"),
        (IdleWindow(whole=window(0, 10, 80.0, device="GPU-1"), first_half_joules=400.0), SPREAD, "other meters"),
    ],
)
def test_missing_net_joules_have_a_reason(before, spread, words):
    found = subtract_idle(LOAD, before, idle(90, 100, 80.0), spread)
    assert (found.net_joules, found.gross_joules) == (None, LOAD.gross_joules)
    assert words in found.net_reason


def test_without_gross_joules_there_is_nothing_to_subtract_from():
    nothing = window(20, 80, None)
    assert subtract_idle(nothing, idle(0, 10, 80.0), idle(90, 100, 80.0), SPREAD) == nothing
