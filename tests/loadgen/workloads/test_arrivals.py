from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
from scipy import stats

from tests.loadgen.made import workload


@pytest.mark.parametrize(
    ("asked", "times"),
    [
        ({"rate": 10.0, "requests": 4}, [0.0, 0.1, 0.2, 0.3]),
        ({"rate": 0.5, "requests": 3}, [0.0, 2.0, 4.0]),
        ({"rate": 4.0, "duration_s": 1.0}, [0.0, 0.25, 0.5, 0.75]),
        ({"rate": 4.0, "duration_s": 0.1}, [0.0]),
    ],
)
def test_constant_arrivals_are_evenly_spaced_from_zero(asked, times):
    assert list(workload("constant", **asked).arrivals(seed=1)) == pytest.approx(times)


def test_a_late_constant_arrival_has_not_drifted():
    *_, last = workload("constant", rate=3.0, requests=300_001).arrivals(seed=0)
    assert last == pytest.approx(100_000, abs=1e-9)


def test_poisson_arrivals_depend_on_the_seed_and_on_nothing_else():
    def row(seed):
        return list(workload("poisson", rate=5.0, requests=50).arrivals(seed))

    assert row(1) == row(1)
    assert row(1) != row(2)
    assert row(1) == sorted(row(1))


def test_poisson_gaps_have_the_mean_and_the_spread_of_an_exponential():
    times = list(workload("poisson", rate=5.0, requests=20_000).arrivals(seed=3))
    gaps = [b - a for a, b in itertools.pairwise([0.0, *times])]
    assert statistics.mean(gaps) == pytest.approx(0.2, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(0.2, rel=0.03)


def test_a_duration_ends_the_row_where_it_would_have_gone_on():
    long = list(workload("poisson", rate=50.0, requests=1000).arrivals(seed=3))
    short = list(workload("poisson", rate=50.0, duration_s=2.0).arrivals(seed=3))
    assert short == [at for at in long if at < 2.0]


def gaps(load, seed):
    return np.diff(np.array(list(load.arrivals(seed))), prepend=0.0)


@pytest.mark.parametrize("burstiness", [0.2, 1.0, 5.0])
def test_gaps_of_bursts_are_gamma_distributed_with_the_mean_of_the_rate(burstiness):
    found = gaps(workload("burst", rate=5.0, burstiness=burstiness, requests=4000), seed=2)
    gamma = stats.gamma(burstiness, scale=1 / (5.0 * burstiness))
    assert stats.kstest(found, gamma.cdf).pvalue > 0.01
    assert found.mean() == pytest.approx(0.2, rel=0.1)


def test_gaps_of_poisson_arrivals_are_exponential():
    found = gaps(workload("poisson", rate=5.0, requests=4000), seed=2)
    assert stats.kstest(found, stats.expon(scale=0.2).cdf).pvalue > 0.01


@pytest.mark.parametrize(
    ("asked", "times"),
    [
        # n = t + t²/2·2/2: after 2 s of a ramp from 1 to 3 requests/s it has been 4.
        ({"rate": 1.0, "end_rate": 3.0, "duration_s": 2.0}, [0, 0.7321, 1.2361, 1.6458, 2.0]),
        ({"rate": 3.0, "end_rate": 1.0, "duration_s": 2.0}, [0, 0.3542, 0.7639, 1.2679, 2.0]),
        ({"rate": 2.0, "end_rate": 2.0, "duration_s": 2.0}, [0, 0.5, 1.0, 1.5, 2.0]),
        ({"rate": 1.0, "end_rate": 4.0, "duration_s": 2.0, "ramp_steps": 2}, [0, 1.0, 1.25, 1.5, 1.75]),
        ({"rate": 4.0, "end_rate": 1.0, "duration_s": 2.0, "ramp_steps": 2}, [0, 0.25, 0.5, 0.75, 1.0]),
    ],
)
def test_a_ramp_comes_as_fast_as_its_rate_is(asked, times):
    found = list(workload("ramp", **asked).arrivals(seed=0))
    # The one that is due at the very end may fall on either side of it.
    assert found == pytest.approx(times[: len(found)], abs=1e-4)
    assert len(found) >= len(times) - 1


def test_a_ramp_with_gamma_gaps_has_as_many_requests_in_each_half_as_its_rate_says():
    load = workload("ramp", rate=10.0, end_rate=30.0, duration_s=100.0, burstiness=1.0)
    found = np.array(list(load.arrivals(seed=5)))
    assert (found < 50).sum() == pytest.approx(750, rel=0.1)
    assert (found >= 50).sum() == pytest.approx(1250, rel=0.1)
    # Seen by the clock that the rate drives they are a Poisson process.
    unit = np.diff(10 * found + 0.1 * found**2, prepend=0.0)
    assert stats.kstest(unit, stats.expon.cdf).pvalue > 0.01


@pytest.mark.parametrize(
    ("asked", "starts", "ends"),
    [
        ({}, [0, 0, 2, 4], [math.inf] * 4),
        ({"ramp_steps": 3}, [0, 0, 2, 4], [math.inf] * 4),
        ({"ramp_steps": 2}, [0, 0, 3, 3], [math.inf] * 4),
        ({"end_concurrency": 2}, [0, 0], [math.inf] * 2),
        ({"concurrency": 4, "end_concurrency": 2}, [0] * 4, [math.inf, math.inf, 4, 2]),
        ({"concurrency": 4, "end_concurrency": 2, "ramp_steps": 2}, [0] * 4, [math.inf, math.inf, 3, 3]),
    ],
)
def test_the_users_of_a_ramp_come_or_go_one_after_another(asked, starts, ends):
    load = workload("ramp", **{"concurrency": 2, "end_concurrency": 4, "duration_s": 6.0, **asked})
    assert load.users() == list(zip(starts, ends, strict=True))
    assert not load.open_loop
    assert load.in_flight == len(starts)


def test_arrivals_that_are_on_and_off_are_poisson_on_a_clock_that_stands_still_meanwhile():
    found = np.array(list(workload("on-off", rate=20.0, on_s=2.0, off_s=3.0, duration_s=500.0).arrivals(seed=7)))
    assert np.all(found % 5 < 2)
    ticks = 20 * (2 * (found // 5) + found % 5)
    assert stats.kstest(np.diff(ticks, prepend=0.0), stats.expon.cdf).pvalue > 0.01
    slower = workload("on-off", rate=20.0, on_s=2.0, off_s=3.0, off_rate=2.0, duration_s=500.0)
    off = [at for at in slower.arrivals(seed=7) if at % 5 >= 2]
    assert len(off) == pytest.approx(600, rel=0.15)


def test_the_users_of_other_closed_loops_are_all_there_from_the_start():
    assert workload("concurrency", concurrency=3).users() == [(0, math.inf)] * 3
    assert workload("single").users() == [(0, math.inf)]


def test_a_closed_loop_has_no_schedule():
    with pytest.raises(ValueError, match="single"):
        next(workload("single").arrivals(seed=0))


def test_how_many_are_in_flight():
    kinds = ("single", "batch", "concurrency", "constant", "poisson", "burst")
    assert [workload(kind).in_flight for kind in kinds] == [1, 2, 2, None, None, None]
