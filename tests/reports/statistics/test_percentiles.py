from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from reports.statistics.confidence import needed_for
from reports.statistics.percentiles import mlperf_floor, percentile, percentile_ranks


@pytest.mark.parametrize("n", [6, 37, 72, 368, 1000])
@pytest.mark.parametrize("wanted", [50, 90, 95, 99])
def test_at_least_95_of_100_intervals_cover_the_true_percentile(n, wanted):
    """Of latencies with a long tail; the intervals take no notice of how they are distributed."""
    ranks = percentile_ranks(n, wanted)
    if ranks is None:
        assert n < needed_for(wanted)
        return
    rng = np.random.default_rng(n)
    samples = np.sort(rng.lognormal(3, 1, (4000, n)), axis=1)
    truth = stats.lognorm(1, scale=math.exp(3)).ppf(wanted / 100)
    covered = np.mean((samples[:, ranks.low] <= truth) & (truth <= samples[:, ranks.high]))
    assert covered >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 4000)
    assert covered == pytest.approx(ranks.coverage, abs=3.5 * math.sqrt(0.05 / 4000))
    assert ranks.coverage >= 0.95


@pytest.mark.parametrize("wanted", [50, 75, 90, 95])
def test_the_ranks_are_the_narrowest_that_leave_a_fortieth_on_either_side(wanted):
    for n in range(1, 150):
        ranks = np.arange(n)
        lows = ranks[stats.binom.cdf(ranks, n, wanted / 100) <= 0.025]
        highs = ranks[stats.binom.sf(ranks, n, wanted / 100) <= 0.025]
        found = percentile_ranks(n, wanted)
        assert (found and found[:2]) == ((lows.max(), highs.min()) if lows.size and highs.size else None)


@pytest.mark.parametrize(("wanted", "needed"), [(50, 6), (90, 36), (95, 72), (99, 368), (99.9, 3688), (1, 368)])
def test_one_request_less_than_needed_gives_no_interval(wanted, needed):
    assert needed_for(wanted) == needed
    assert percentile_ranks(needed, wanted) is not None
    assert percentile_ranks(needed - 1, wanted) is None


def test_20_requests_have_no_p99_and_say_how_many_would():
    found = percentile(np.arange(20.0), 99)
    assert (found.value, found.low, found.high, found.n) == (None, None, None, 20)
    assert found.reason == "p99 of 20 requests has no interval: 368 are needed (MLPerf asks for 662)"


def test_the_same_20_requests_have_a_median():
    found = percentile(np.arange(20.0), 50)
    assert (found.value, found.low, found.high, found.reason) == (9.5, 5.0, 14.0, None)


def test_values_that_are_missing_do_not_count():
    found = percentile([1.0, math.nan, 2.0], 50)
    assert (found.n, found.value) == (2, None)


def test_failed_requests_are_above_any_other():
    values = np.array([*range(90), *[math.inf] * 10], dtype=float)
    half, tenth = percentile(values, 50), percentile(values, 90)
    assert (half.n, half.value, half.low, half.reason) == (100, 49.5, 39.0, None)
    assert (tenth.value, tenth.low, tenth.high) == (None, None, None)
    assert "among the failed requests" in tenth.reason
    edge = percentile(values, 85)
    assert (edge.value, edge.high) == (pytest.approx(84.15), None)
    assert "no upper end" in edge.reason


def test_interval_ends_are_observed_values_with_ties():
    found = percentile([10.0] * 500 + [11.0] * 500, 99)
    assert (found.value, found.low, found.high) == (11.0, 11.0, 11.0)


@pytest.mark.parametrize(("wanted", "floor"), [(90, 64), (99, 662)])
def test_mlperfs_floors_are_those_it_publishes(wanted, floor):
    assert mlperf_floor(wanted) == floor


@pytest.mark.parametrize("wanted", [0, 100, -5, 101])
def test_a_percentile_outside_its_range_is_refused(wanted):
    with pytest.raises(ValueError, match="must lie between"):
        percentile([1.0] * 10, wanted)
