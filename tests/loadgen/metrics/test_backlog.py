"""The test for a trend in the requests in flight, on loads whose backlog is known."""

from __future__ import annotations

import numpy as np
import pytest

from loadgen.metrics.backlog import backlog_trend, filled_ns
from tests.loadgen.made import MS, failed, record


def load(ends, every=10):
    """Requests at a constant pace of one in `every` ms, that end these numbers of ms after their sending."""
    return [record(n, n * every, n * every + after, n * every + after, tokens=1) for n, after in enumerate(ends)]


def judged(records, start=0):
    return backlog_trend(records, start * MS, records[-1].scheduled_ns)


def test_a_backlog_that_stays_is_stationary_and_its_levels_are_rate_times_time():
    found = judged(load([50] * 400), start=50)
    assert (found.stationary, found.growing) == (True, False)
    assert (found.first_level, found.last_level) == pytest.approx((5, 5), abs=0.1)
    assert found.slope_low < 0 < found.slope_high
    assert found.arrival_rate == pytest.approx(100, rel=0.01)


def test_a_backlog_that_grows_by_a_tenth_of_the_arrivals_has_that_slope():
    found = judged(load([50 + n for n in range(400)]), start=50)  # the last of 400 waits 0.4 s longer
    assert (found.stationary, found.growing) == (False, True)
    assert found.slope == pytest.approx(100 / 11, rel=0.03)  # requests end every 11 ms
    assert found.slope_low <= found.slope <= found.slope_high
    assert found.slope_high / found.arrival_rate == pytest.approx(1 / 11, rel=0.2)


def test_a_backlog_that_falls_has_a_trend_and_does_not_grow():
    found = judged(load([900 - n for n in range(400)]), start=1000)
    assert (found.stationary, found.growing) == (False, False)
    assert found.slope_high < 0


def test_requests_that_never_end_stay_in_flight_and_failed_ones_leave_it_when_they_fail():
    hung = load([50] * 400)
    for each in hung[::10]:
        each.end_ns = None
    assert judged(hung).last_level == pytest.approx(0.1 * 400 + 4.5, abs=2.5)
    assert judged(hung).growing
    refused = [failed(n, n * 10, n * 10 + 50) for n in range(400)]
    assert judged(refused, start=50).stationary


def test_too_few_requests_or_too_much_scatter_is_said_not_guessed():
    few = judged(load([50] * 15))
    assert few.stationary is None
    assert few.reason == "15 requests arrived in the stretch that could be judged; it takes 20"
    assert backlog_trend(load([50] * 15), 5, 5).stationary is None
    draw = np.random.default_rng(1)
    noisy = judged(load(np.rint(draw.exponential(300, 60)).astype(int).tolist()), start=300)
    assert noisy.stationary is None
    assert "of the arrivals could hide in the scatter of" in noisy.reason


def test_the_line_is_filled_once_the_first_requests_have_had_their_time():
    assert filled_ns(load([70] * 400)) == 70 * MS
    late = load([70] * 18 + [9000] * 2 + [5000] * 300)  # two of the first twenty, and all that came later
    assert filled_ns(late) == 70 * MS
    hung = load([70] * 400)
    for each in hung[:3]:
        each.end_ns = None
    assert filled_ns(hung) is None
