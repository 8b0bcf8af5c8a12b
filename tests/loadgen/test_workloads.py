from __future__ import annotations

import itertools
import statistics

import pytest

from loadgen.workloads import arrivals, in_flight
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
    assert list(arrivals(workload("constant", **asked), seed=1)) == pytest.approx(times)


def test_a_late_constant_arrival_has_not_drifted():
    *_, last = arrivals(workload("constant", rate=3.0, requests=300_001), seed=0)
    assert last == pytest.approx(100_000, abs=1e-9)


def test_poisson_arrivals_depend_on_the_seed_and_on_nothing_else():
    def row(seed):
        return list(arrivals(workload("poisson", rate=5.0, requests=50), seed))

    assert row(1) == row(1)
    assert row(1) != row(2)
    assert row(1) == sorted(row(1))


def test_poisson_gaps_have_the_mean_and_the_spread_of_an_exponential():
    times = list(arrivals(workload("poisson", rate=5.0, requests=20_000), seed=3))
    gaps = [b - a for a, b in itertools.pairwise([0.0, *times])]
    assert statistics.mean(gaps) == pytest.approx(0.2, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(0.2, rel=0.03)


def test_a_duration_ends_the_row_where_it_would_have_gone_on():
    long = list(arrivals(workload("poisson", rate=50.0, requests=1000), seed=3))
    short = list(arrivals(workload("poisson", rate=50.0, duration_s=2.0), seed=3))
    assert short == [at for at in long if at < 2.0]


def test_a_closed_loop_has_no_schedule():
    with pytest.raises(ValueError, match="single"):
        next(arrivals(workload("single"), seed=0))


def test_how_many_are_in_flight():
    kinds = ("single", "batch", "concurrency", "constant", "poisson")
    assert [in_flight(workload(kind)) for kind in kinds] == [1, 2, 2, None, None]
