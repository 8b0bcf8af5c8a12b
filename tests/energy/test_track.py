from __future__ import annotations

from itertools import pairwise

import pytest

from energy.meters.base import Reading
from energy.records import MeterInfo
from energy.track import Track

MS = 1_000_000
GPU = MeterInfo(source="nvml-counter", domain="gpu", device="GPU-0")
POWER = MeterInfo(source="nvml-instant", domain="gpu", device="GPU-0")


def track(info: MeterInfo = GPU, capacity: int = 10_000) -> Track:
    return Track(info, capacity)


def at(ms: float, joules: float | None = None, watts: float | None = None) -> Reading:
    return Reading(round(ms * MS), round(ms * MS) + MS, joules, watts)


def test_joules_count_from_the_first_reading():
    t = track()
    for i in range(3):
        t.append(at(50 * i, 1000.0 + i))
    assert t.counter().joules == 2
    assert t.since(0).joules == [0, 1, 2]


def test_a_meter_that_has_not_answered_is_none_with_a_reason():
    t = track()
    t.append(at(0))
    row = t.counter()
    assert (row.joules, row.sampled_ns) == (None, None)
    assert row.reason == "the meter has not answered yet"


def test_power_is_integrated_by_trapezoids():
    t = track(POWER)
    for ms, watts in [(0, 100.0), (1000, 300.0), (2000, 300.0)]:
        t.append(at(ms, watts=watts))
    assert t.since(0).joules == pytest.approx([0, 200, 500])


def test_a_gap_adds_no_sample():
    t = track()
    t.append(at(0, 5.0))
    t.append(at(50))
    t.append(at(100, 6.0))
    assert t.since(0).after_ns == [MS, 101 * MS]


def test_a_counter_that_goes_backwards_ends_the_track_and_keeps_what_came_before():
    t = track()
    for ms, joules in [(0, 10.0), (50, 20.0), (100, 3.0), (150, 4.0)]:
        t.append(at(ms, joules))
    assert t.counter().joules is None
    assert "went backwards by 17 J" in (t.counter().reason or "")
    trace = t.since(0)
    assert trace.joules == [0, 10]
    assert trace.reason == t.reason


def test_a_counter_frozen_while_power_is_reported_ends_where_it_last_moved():
    t = track()
    for i in range(20):
        t.append(at(50 * i, 15.0 * i, 300))
    for i in range(20, 200):
        t.append(at(50 * i, 15.0 * 19, 300))
    assert "stood still" in (t.reason or "")
    assert t.counter().joules is None
    assert t.since(0).after_ns[-1] == 19 * 50 * MS + MS


def test_a_counter_that_rests_without_power_is_not_frozen():
    t = track()
    for i in range(400):
        t.append(at(50 * i, 7.0, 0.0))
    assert t.reason is None


def test_a_slow_counter_is_not_frozen():
    t = track()
    for i in range(400):
        t.append(at(50 * i, 150.0 * (i // 10), 300))
    assert t.reason is None
    assert t.info.refresh_s == pytest.approx(0.5)


def test_the_refresh_interval_is_stated_once_it_was_seen_often_enough():
    t = track()
    for i in range(7):
        t.append(at(50 * i, float(i // 2), 20))
    assert t.info.refresh_s is None
    for i in range(7, 40):
        t.append(at(50 * i, float(i // 2), 20))
    assert t.info.refresh_s == pytest.approx(0.1)


def test_a_refresh_interval_that_the_meter_states_is_kept():
    t = track(MeterInfo(source="rapl", domain="dram", device="intel-rapl:0:2", refresh_s=0.001))
    for i in range(40):
        t.append(at(50 * i, float(i)))
    assert t.info.refresh_s == 0.001


def test_memory_is_bounded_and_holds_the_newest():
    t = track(capacity=100)
    for i in range(1_000):
        t.append(at(50 * i, float(i), 20))
    trace = t.since(0)
    assert trace.joules == [float(i) for i in range(900, 1000)]
    assert all(a < b for a, b in pairwise(trace.before_ns))
    assert t.info.refresh_s == pytest.approx(0.05)


def test_a_trace_begins_two_seconds_early_and_one_sample_before_that():
    t = track()
    for i in range(400):
        t.append(at(50 * i, float(i)))
    trace = t.since(10_000 * MS)
    assert trace.before_ns[0] < 8_000 * MS <= trace.before_ns[1] + MS
    assert trace.before_ns[-1] == 399 * 50 * MS


def test_nothing_is_appended_after_a_failure():
    t = track()
    t.append(at(0, 1.0))
    t.fail("the GPU is lost")
    t.fail("another reason")
    t.append(at(50, 2.0))
    assert t.reason == "the GPU is lost"
    assert t.since(0).joules == [0]
