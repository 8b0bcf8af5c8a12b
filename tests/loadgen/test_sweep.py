from __future__ import annotations

import math

import numpy as np
import pytest

from loadgen.metrics import measure_records
from loadgen.sweep import SweepPoint, at_rate, conclude, judge, points, rates_to_try
from loadgen.window import cut_window
from loadgen.workloads import arrivals
from tests.loadgen.made import MS, record, trial, workload


def tried(sweep, good_below, saturated_from=math.inf):
    """The rates a sweep tries against a server that is good below one rate and saturated from another on."""
    search, rates = rates_to_try(sweep), []
    try:
        rate = next(search)
        while True:
            rates.append(rate)
            rate = search.send((rate < min(good_below, saturated_from), rate >= saturated_from))
    except StopIteration:
        return rates


def test_rates_double_until_the_server_is_saturated_and_then_close_in_on_the_highest_good_one():
    rates = tried(workload("sweep", rate=1.0), math.inf, saturated_from=10.0)
    assert rates[:5] == [1, 2, 4, 8, 16]
    assert rates[5:] == pytest.approx([11.314, 9.514, 10.375], abs=1e-3)


def test_with_objectives_the_curve_is_seen_to_saturation_and_the_search_is_for_them():
    rates = tried(workload("sweep", rate=1.0, slo_ttft_ms=5.0), good_below=3.0, saturated_from=20.0)
    assert rates[:6] == [1, 2, 4, 8, 16, 32]
    assert rates[6:] == pytest.approx([2.828, 3.364, 3.084], abs=1e-3)


def test_where_the_lowest_is_too_much_it_goes_down():
    rates = tried(workload("sweep", rate=8.0), math.inf, saturated_from=3.0)
    assert rates[:3] == [8, 4, 2]
    assert max(r for r in rates if r < 3) / 3 > 0.9


def test_a_sweep_stops_at_the_highest_rate_allowed_and_when_nothing_is_ever_good():
    assert tried(workload("sweep", rate=1.0, end_rate=5.0), math.inf) == [1, 2, 4, 5]
    assert tried(workload("sweep", rate=4.0), good_below=0.0, saturated_from=0.0)[-1] <= 0.4
    assert len(tried(workload("sweep", rate=1.0), math.inf)) == 32


def test_stated_rates_are_tried_as_stated():
    sweep = workload("sweep", rate=None, rates=[4.0, 1.0, 9.0])
    assert tried(sweep, math.inf, saturated_from=2.0) == [4, 1, 9]
    assert [(w.name, w.kind, w.rate, w.sweep) for w in points(sweep)] == [
        ("sweep-4rps", "poisson", 4.0, "sweep"),
        ("sweep-1rps", "poisson", 1.0, "sweep"),
        ("sweep-9rps", "poisson", 9.0, "sweep"),
    ]
    assert points(workload("single")) == [workload("single")]
    with pytest.raises(ValueError, match="needs `rates`"):
        points(workload("sweep"))


def test_a_sweep_with_a_burstiness_comes_in_bursts():
    load = at_rate(workload("sweep", burstiness=0.3), 2.5)
    assert (load.kind, load.burstiness, load.rate) == ("burst", 0.3, 2.5)


def queue(load, service_ms, seed=1, servers=1):
    """Records of a first-come, first-served queue with exponential service, [ms]; the truth is in the textbooks."""
    draw = np.random.default_rng(seed)
    free, found = [0.0] * servers, []
    for index, at_s in enumerate(arrivals(load, seed)):
        at = at_s * 1e3
        server = int(np.argmin(free))
        begins = max(at, free[server])
        free[server] = begins + draw.exponential(service_ms)
        first, last = (begins + free[server]) / 2, free[server]
        at_ns, end_ns = round(at * MS), round(last * MS)
        found.append(
            record(
                index, at, first, last, tokens=2, sent_ns=at_ns, scheduled_ns=at_ns, end_ns=end_ns, headers_ns=end_ns
            )
        )
    return found


def point(sweep, rate, records, p99_takes=1):
    load = at_rate(sweep, rate)
    window = cut_window(load, records)
    measured = trial(0, 1, load=load, gross_joules=10.0).model_copy(
        update={
            "window_rules": 2,
            "window_rule": window.rule,
            "window_start_ns": window.start_ns,
            "window_end_ns": window.end_ns,
        }
    )
    return judge(sweep, f"rate-{rate:g}", measured, measure_records(measured, records), records, p99_takes=p99_takes)


def at_load(rho, n=3000, seed=1, **objectives):
    """A queue of 100 requests/s, offered so much of it."""
    sweep = workload("sweep", requests=n, **objectives)
    return point(sweep, 100 * rho, queue(at_rate(sweep, 100 * rho), service_ms=10, seed=seed))


def test_a_p99_of_too_few_requests_is_withheld_and_says_how_many_it_takes():
    sweep = workload("sweep", requests=50)
    answered = queue(at_rate(sweep, 50), service_ms=10, seed=1)
    told = point(sweep, 50, answered)
    n = told.latency_requests
    assert 40 < n <= 50
    assert told.p99_ttft_ms > told.median_ttft_ms
    assert told.p99_reason is None
    withheld = point(sweep, 50, answered, p99_takes=n + 1)
    assert (withheld.p99_ttft_ms, withheld.p99_tpot_ms) == (None, None)
    assert withheld.p99_reason == f"p99 takes {n + 1} requests; {n} count"
    assert withheld.median_ttft_ms == told.median_ttft_ms


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rho", [0.1, 0.5, 0.8])
def test_a_queue_that_keeps_up_is_not_called_saturated(rho, seed):
    found = at_load(rho, n=500, seed=seed)
    assert found.saturated is None
    assert found.achieved_rate == pytest.approx(100 * rho, rel=0.15)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rho", [1.2, 2.0, 5.0])
def test_a_queue_that_grows_is_called_saturated_with_what_was_seen(rho, seed):
    found = at_load(rho, n=round(1000 * rho), seed=seed)
    assert found.saturated is not None
    assert not found.good
    assert found.achieved_rate == pytest.approx(100, rel=0.15)


def test_a_load_that_was_over_before_the_first_answer_says_so():
    records = [record(n, n, 500, 600 + n, tokens=2) for n in range(50)]
    found = point(workload("sweep", requests=50), 1000.0, records)
    assert found.saturated == "requests took longer than the load lasted"


def test_failed_requests_are_not_kept_up_with():
    records = queue(at_rate(workload("sweep", requests=400), 50.0), service_ms=10)
    for failed in records[::3]:
        failed.error = "HTTP 503"
    assert "requests/s were completed" in point(workload("sweep", requests=400), 50.0, records).saturated


def test_a_rate_is_good_if_enough_requests_meet_every_objective():
    # In such a queue the time in the system is exponential with mean 1/(100 - rate): 20 ms at half load.
    found = at_load(0.5, slo_tpot_ms=40 * math.log(10) / 2, slo_share=0.9)
    assert found.slo_share is not None
    loose, strict = at_load(0.5, slo_ttft_ms=1000.0), at_load(0.5, slo_ttft_ms=1.0)
    assert (loose.good, loose.slo_share) == (True, 1.0)
    assert not strict.good
    assert strict.slo_share < 0.3
    assert strict.saturated is None


def test_the_knee_is_where_throughput_over_latency_is_highest_which_for_such_a_queue_is_half_load():
    found = [at_load(rho, n=20_000) for rho in (0.1, 0.3, 0.5, 0.7, 0.9, 1.3)]
    sweep = conclude(workload("sweep"), found, complete=True)
    assert sweep.knee_rate == pytest.approx(50)
    assert (sweep.goodput_rate, sweep.goodput_below, sweep.saturation_rate) == pytest.approx((90, 130, 130))
    assert sweep.reason is None


def shown(rate, *, good, saturated=None):
    return SweepPoint.model_construct(rate=rate, good=good, saturated=saturated, mean_e2e_ms=None)


def test_a_good_rate_above_a_bad_one_is_luck_and_what_was_not_found_has_its_reason():
    lucky = conclude(workload("sweep"), [shown(1, good=True), shown(2, good=False), shown(4, good=True)], complete=True)
    assert (lucky.goodput_rate, lucky.goodput_below) == (1, 2)
    assert lucky.reason == "the server kept up with every rate"
    nothing = conclude(workload("sweep"), [shown(1, good=False, saturated="x")], complete=True)
    assert (nothing.goodput_rate, nothing.reason) == (None, "no rate that was tried is good")
