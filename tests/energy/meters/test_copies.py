"""Two names for one counter are counted once; two devices never are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.meters.copies import find_copies
from energy.records import EnergyTrace, MeterInfo, MeterTrace
from energy.window import window_energy

SECOND = 10**9


def counter(seed: int, watts: float, *, device: str, read_late_s: float = 0.0, source: str = "rapl") -> MeterTrace:
    """A counter in whole microjoules that refreshes every millisecond, read every 50 ms for 40 s."""
    steps = np.random.default_rng(seed).uniform(0.8, 1.2, 40_000) * watts * 1e-3
    joules = np.round(np.concatenate(([0.0], np.cumsum(steps))), 6)
    at = np.arange(0.0, 39.9, 0.05) + read_late_s
    shown = joules[np.floor(at / 1e-3).astype(int)]
    ns = np.round(at * SECOND).astype(int)
    info = MeterInfo.model_validate({"source": source, "domain": "cpu-package", "device": device, "refresh_s": 1e-3})
    return MeterTrace(
        info=info,
        before_ns=ns.tolist(),
        after_ns=(ns + 1000).tolist(),
        joules=(shown - shown[0]).tolist(),
        watts=[None] * len(ns),
    )


def gross(*meters: MeterTrace) -> float | None:
    trace = EnergyTrace(now_ns=0, meters=list(meters), conditions=[], missing=[])
    return window_energy(trace, 5 * SECOND, 35 * SECOND).gross_joules


@pytest.mark.parametrize("late_s", [0.0, 0.0002, 0.0004])
def test_a_copy_that_is_read_a_little_later_is_counted_once(late_s):
    one, copy = counter(1, 60, device="a"), counter(1, 60, device="b", read_late_s=late_s)
    assert gross(one, copy) == pytest.approx(60 * 30, rel=0.01)
    trace = EnergyTrace(now_ns=0, meters=[one, copy], conditions=[], missing=[])
    parts = window_energy(trace, 5 * SECOND, 35 * SECOND).parts
    assert [part.copy_of for part in parts] == [None, "a"]
    assert parts[1].joules is not None, "it is shown all the same"


def test_two_packages_under_the_same_load_are_two():
    assert gross(counter(1, 60, device="a"), counter(2, 60, device="b")) == pytest.approx(2 * 60 * 30, rel=0.01)


def test_copies_of_copies_are_all_the_first_ones():
    meters = [counter(1, 60, device="a"), counter(2, 60, device="b"), *(counter(1, 60, device=name) for name in "cd")]
    assert find_copies(meters) == {2: 0, 3: 0}


def test_a_meter_that_stood_still_or_was_hardly_read_is_no_copy():
    still = counter(1, 0, device="a")
    assert find_copies([still, counter(1, 0, device="b")]) == {}
    short = counter(1, 60, device="a")
    few = short.model_copy(
        update={name: getattr(short, name)[:10] for name in ("before_ns", "after_ns", "joules", "watts")}
    )
    assert find_copies([few, few]) == {}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(20, 400), st.floats(20, 400))
def test_two_devices_are_never_taken_for_one(first, second, watts, other):
    if first != second:
        assert find_copies([counter(first, watts, device="a"), counter(second, other, device="b")]) == {}
