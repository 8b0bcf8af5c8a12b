from __future__ import annotations

import math

import numpy as np
import pytest

from loadgen.metrics.backlog import Backlog
from loadgen.metrics.measuring.measure import measure_records
from loadgen.metrics.window import cut_window
from loadgen.sweeps.points import SweepPoint, judge
from loadgen.sweeps.rate_search import conclude, rates_to_try
from tests.loadgen.made import MS, record, trial, workload


def shown(rate, growth=0.0, *, half=0.02, good=True, **other):
    """A trial at which the backlog grew by this share of the arrivals, known to `half`."""
    grew = {"slope": growth * rate, "slope_low": (growth - half) * rate, "slope_high": (growth + half) * rate}
    levels = {"first_level": 1.0, "last_level": 1.0 + growth * 1000}
    backlog = Backlog(stationary=growth < half, arrivals=1000, arrival_rate=rate, **levels, **grew)
    saturated = "it grew" if growth > half else None
    share = None if good is None else float(good)
    given = {"slo_share": share, "saturated": saturated, "good": bool(good) and not saturated, "mean_e2e_ms": None}
    return SweepPoint.model_construct(**{"rate": rate, "backlog": backlog, "unclear": None, **given, **other})


def swept(sweep, at):
    """The rates a sweep tries against a server that shows `at(rate)`, and the trials."""
    search, found = rates_to_try(sweep), []
    try:
        rate = next(search)
        while True:
            found.append(at(rate))
            assert found[-1].rate == rate
            rate = search.send(found[-1])
    except StopIteration:
        return [each.rate for each in found], found


def server(capacity, good_below=math.inf):
    return lambda rate: shown(rate, max(0.0, 1 - capacity / rate), good=rate < good_below)


def test_rates_double_until_the_server_is_saturated_then_close_in_and_the_edges_are_tried_again():
    rates, found = swept(workload("sweep", rate=1.0), server(10.0))
    assert rates[:5] == [1, 2, 4, 8, 16]
    assert rates[5:] == pytest.approx([11.314, 9.514, 10.375, 9.935, 10.375, 9.935], abs=1e-3)
    bracket = conclude(workload("sweep"), found, complete=True).bracket
    assert bracket.low == pytest.approx(9.935 * (1 - 1.22 * 0.02 / math.sqrt(2)), abs=1e-3)
    assert (bracket.high, bracket.repeated) == (pytest.approx(10.375, abs=1e-3), True)
    assert bracket.words.endswith("each measured twice and known with 97.5 %")


def test_an_edge_that_does_not_hold_the_second_time_is_left_and_the_search_resumes_above_it():
    seen = set()

    def lucky(rate):
        first = rate not in seen
        seen.add(rate)
        return shown(rate, 0.025 if 9 < rate < 10 and first else max(0.0, 1 - 10 / rate))

    rates, found = swept(workload("sweep", rate=1.0), lucky)
    assert rates.count(pytest.approx(9.514, abs=1e-3)) == 2
    bracket = conclude(workload("sweep"), found, complete=True).bracket
    assert bracket.low < 10 < bracket.high
    assert bracket.repeated


def test_with_objectives_the_search_is_for_them_too():
    rates, found = swept(workload("sweep", rate=1.0, slo_ttft_ms=5.0), server(20.0, good_below=3.0))
    assert rates[:6] == [1, 2, 4, 8, 16, 32]
    assert rates[-3:] == pytest.approx([2.828, 3.364, 3.084], abs=1e-3)
    sweep = conclude(workload("sweep", slo_ttft_ms=5.0), found, complete=True)
    assert (sweep.goodput_rate, sweep.goodput_below) == pytest.approx((2.828, 3.084), abs=1e-3)
    assert sweep.bracket.low < 20 < sweep.bracket.high


def test_where_the_lowest_is_too_much_it_goes_down():
    rates, found = swept(workload("sweep", rate=8.0), server(3.0))
    assert rates[:3] == [8, 4, 2]
    bracket = conclude(workload("sweep"), found, complete=True).bracket
    assert bracket.low < 3 < bracket.high


def test_a_sweep_stops_at_the_highest_rate_allowed_and_when_nothing_is_ever_kept_up_with():
    rates, found = swept(workload("sweep", rate=1.0, end_rate=5.0), server(math.inf))
    assert rates == [1, 2, 4, 5]
    sweep = conclude(workload("sweep"), found, complete=True)
    assert (sweep.bracket, sweep.saturation_rate) == (None, None)
    assert sweep.reason == "the server kept up with every rate"
    rates, found = swept(workload("sweep", rate=4.0), server(0.0))
    assert rates[-1] <= 0.4
    reason = conclude(workload("sweep"), found, complete=True).reason
    assert reason == "no rate that was tried is good; the server kept up with no rate"
    assert len(swept(workload("sweep", rate=1.0), server(math.inf))[0]) == 32


def test_a_load_too_short_to_judge_ends_the_doubling_and_is_no_edge():
    def at(rate):
        return shown(rate) if rate < 5 else shown(rate, backlog=None, unclear="too short", good=False, saturated=None)

    rates, found = swept(workload("sweep", rate=1.0), at)
    assert rates == [1, 2, 4, 8]
    sweep = conclude(workload("sweep"), found, complete=True)
    assert (sweep.bracket, sweep.goodput_rate, sweep.goodput_below) == (None, 4, 8)
    assert sweep.reason == "the server kept up with every rate that could be judged: the load was too short"


def test_stated_rates_give_a_bracket_as_wide_as_they_are_and_say_what_would_narrow_it():
    found = swept(workload("sweep", rate=None, rates=[8.0, 12.0]), server(10.0))[1]
    sweep = conclude(workload("sweep"), found, complete=True)
    assert (sweep.bracket.low, sweep.bracket.high) == (pytest.approx(8 * 0.98), 12)
    assert not sweep.bracket.repeated
    assert sweep.reason == "the bracket is 53.1 % wide: more rates, or more requests at each, would narrow it"
    unsure = [shown(8.0, half=1.5), shown(12.0, 0.2)]
    assert conclude(workload("sweep"), unsure, complete=True).reason.startswith("too few requests at 8 requests/s")


def test_stated_rates_are_tried_as_stated():
    sweep = workload("sweep", rate=None, rates=[4.0, 1.0, 9.0])
    assert swept(sweep, server(2.0))[0] == [4, 1, 9]
    assert [(w.name, w.kind, w.rate, w.sweep) for w in sweep.points()] == [
        ("sweep-4rps", "poisson", 4.0, "sweep"),
        ("sweep-1rps", "poisson", 1.0, "sweep"),
        ("sweep-9rps", "poisson", 9.0, "sweep"),
    ]
    assert workload("single").points() == [workload("single")]
    with pytest.raises(ValueError, match="needs `rates`"):
        workload("sweep").points()


def test_a_sweep_with_a_burstiness_comes_in_bursts():
    load = workload("sweep", burstiness=0.3).at_rate(2.5)
    assert (load.kind, load.burstiness, load.rate) == ("burst", 0.3, 2.5)


def queue(load, service_ms, seed=1, servers=1):
    """Records of a first-come, first-served queue with exponential service, [ms]; the truth is in the textbooks."""
    draw = np.random.default_rng(seed)
    free, found = [0.0] * servers, []
    for index, at_s in enumerate(load.arrivals(seed)):
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
    load = sweep.at_rate(rate)
    window = cut_window(load, records)
    measured = trial(0, 1, load=load, gross_joules=10.0).model_copy(
        update={
            "window_rules": 2,
            "window_rule": window.rule,
            "window_start_ns": window.start_ns,
            "window_end_ns": window.end_ns,
        }
    )
    return judge(sweep, f"rate-{rate:g}", measured, measure_records(measured, records), p99_takes=p99_takes)


def at_load(rho, n=3000, seed=1, **objectives):
    """A queue of 100 requests/s, offered this rate."""
    sweep = workload("sweep", requests=n, **objectives)
    return point(sweep, 100 * rho, queue(sweep.at_rate(100 * rho), service_ms=10, seed=seed))


def test_a_p99_of_too_few_requests_is_withheld_and_says_how_many_it_takes():
    sweep = workload("sweep", requests=50)
    answered = queue(sweep.at_rate(50), service_ms=10, seed=1)
    found = point(sweep, 50, answered)
    n = found.latency_requests
    assert 40 < n <= 50
    assert found.p99_ttft_ms > found.median_ttft_ms
    assert found.p99_reason is None
    withheld = point(sweep, 50, answered, p99_takes=n + 1)
    assert (withheld.p99_ttft_ms, withheld.p99_tpot_ms) == (None, None)
    assert withheld.p99_reason == f"p99 takes {n + 1} requests; {n} count"
    assert withheld.median_ttft_ms == found.median_ttft_ms


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rho", [0.1, 0.5, 0.8])
def test_a_queue_that_keeps_up_is_not_called_saturated(rho, seed):
    found = at_load(rho, n=500, seed=seed)
    assert found.saturated is None
    assert found.achieved_rate == pytest.approx(100 * rho, rel=0.15)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rho", [1.2, 2.0, 5.0])
def test_a_queue_that_grows_is_called_saturated_with_what_was_seen(rho, seed):
    found = at_load(rho, n=max(2000, round(1000 * rho)), seed=seed)
    assert found.saturated is not None
    assert not found.good
    assert found.achieved_rate == pytest.approx(100, rel=0.15)


def test_a_load_that_was_over_before_the_first_answer_says_so():
    records = [record(n, n, 500, 600 + n, tokens=2) for n in range(50)]
    found = point(workload("sweep", requests=50), 1000.0, records)
    assert (found.saturated, found.good) == (None, False)
    assert found.verdict == "too short: the first requests took longer than half of the load lasted"


def test_failed_requests_are_not_kept_up_with():
    records = queue(workload("sweep", requests=400).at_rate(50.0), service_ms=10)
    for failed in records[::3]:
        failed.error = "HTTP 503"
    found = point(workload("sweep", requests=400), 50.0, records)
    assert found.saturated == "134 of 400 requests failed"
    assert conclude(workload("sweep"), [found], complete=True).saturation_rate == 50


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
    assert 70 < sweep.bracket.low < 100 < sweep.bracket.high


def test_a_good_rate_above_a_bad_one_is_luck_and_what_was_not_found_has_its_reason():
    sweep = workload("sweep", slo_ttft_ms=5.0)
    lucky = conclude(sweep, [shown(1), shown(2, good=False), shown(4)], complete=True)
    assert (lucky.goodput_rate, lucky.goodput_below) == (1, 2)
    assert lucky.reason == "the server kept up with every rate"
    assert conclude(sweep, [shown(1, good=False)], complete=True).goodput_rate is None
