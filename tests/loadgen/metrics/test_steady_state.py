"""ML.ENERGY's steady state beside our window, and the joules of the warm-up."""

from __future__ import annotations

import pytest

from energy.records import WindowEnergy
from loadgen.metrics.steady_state import metered_warm_up, steady_state
from loadgen.records.schema import WarmUp
from tests.loadgen.made import MS, failed, record, workload


def over(start_ns, end_ns):
    """100 W."""
    return WindowEnergy(
        start_ns=start_ns, end_ns=end_ns, gross_joules=(end_ns - start_ns) / 1e7, gross_joules_uncertainty=0.5
    )


def unmetered(start_ns, end_ns):
    return WindowEnergy(start_ns=start_ns, end_ns=end_ns, reason="no meter")


# Two in flight, 100 ms each, half a request apart; a token at 10, 55 and 100 ms of each.
LOOP = [record(n, 50 * n, 50 * n + 10, 50 * n + 100) for n in range(10)]


def test_it_begins_with_the_first_token_of_as_many_as_are_in_flight_and_ends_when_that_many_and_one_are_left():
    found = steady_state(workload("concurrency", requests=10), LOOP, over)
    # The second's first token at 60 ms; of ten requests the seventh end, at 400 ms.
    assert (found.batch, found.start_ns, found.end_ns) == (2, 60 * MS, 400 * MS)
    inside = sum(60 * MS < at <= 400 * MS for one in LOOP for at in one.arrival_ns)
    assert found.output_tokens == inside
    assert (found.joules, found.joules_uncertainty, found.reason) == (pytest.approx(34), 0.5, None)


def test_a_failed_request_counts_as_ended_and_not_as_begun():
    records = [failed(0, 0, 5), *[record(n, 50 * n, 50 * n + 10, 50 * n + 100) for n in range(1, 10)]]
    found = steady_state(workload("concurrency", requests=10), records, over)
    assert (found.start_ns, found.end_ns) == (110 * MS, 400 * MS)


def test_too_few_requests_and_loads_without_a_full_batch_have_none_and_a_reason():
    assert steady_state(workload("concurrency"), LOOP[:3], over).reason == "3 requests are too few for 2 in flight"
    for kind in ("poisson", "single", "batch"):
        found = steady_state(workload(kind), LOOP, over)
        assert found.joules is None
        assert "keeps no batch full" in found.reason


def test_without_a_meter_the_time_is_known_and_joules_are_null_with_the_reason():
    found = steady_state(workload("concurrency", requests=10), LOOP, unmetered)
    assert (found.end_ns, found.joules, found.reason) == (400 * MS, None, "no meter")


def test_a_warm_up_has_the_joules_of_the_seconds_before_its_end():
    warmup = WarmUp(requests=4, groups=2, seconds=2.0, steady=True, change=0.01)
    found = metered_warm_up(warmup, 5 * 10**9, over)
    assert (found.joules, found.joules_uncertainty, found.joules_reason) == (pytest.approx(200), 0.5, None)
    assert metered_warm_up(warmup, 5 * 10**9, unmetered).joules_reason == "no meter"
    nothing = warmup.model_copy(update={"requests": 0, "seconds": 0.0})
    assert metered_warm_up(nothing, 5 * 10**9, over).joules_reason == "nothing was sent to warm up"
