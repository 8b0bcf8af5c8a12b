"""Percentiles over blocks by hand; their coverage under queueing is in tests/truth/statistics/sim_tails.py."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reports.statistics.block_percentiles import correlation_time, independent_needed, percentiles_over
from reports.statistics.ratios import mean_interval


def drawn(blocks, n, seed=1):
    return list(np.random.default_rng(seed).gamma(4, size=(blocks, n)))


def over(trials, wanted=50, **how):
    return percentiles_over(trials, [wanted], **how)[0]


def test_the_percentile_is_the_geometric_mean_over_blocks_with_students_lower_end():
    trials = [np.full(20, value) for value in (10.0, 12.0, 14.0)]
    found = over(trials)
    expected = mean_interval(np.log([10, 12, 14]).tolist())
    assert (found.value, found.low, found.high) == pytest.approx(
        (math.exp(expected.mean), math.exp(expected.low), math.exp(expected.high))
    )
    assert (found.basis, found.reason) == ("blocks", None)


def test_different_blocks_widen_the_interval_for_any_number_of_requests():
    alike = drawn(5, 400)
    unlike = [values * factor for values, factor in zip(alike, (1, 1.2, 0.8, 1.1, 0.9), strict=True)]
    widths = [math.log(found.high / found.low) for found in (over(unlike), over(alike))]
    assert widths[0] > 2 * widths[1]


@pytest.mark.parametrize(("blocks", "why"), [(1, "one trial"), (2, "2 blocks, and it takes 3")])
def test_fewer_than_three_blocks_have_the_percentile_of_all_requests_and_no_interval(blocks, why):
    trials = drawn(blocks, 50)
    found = over(trials)
    assert found.value == pytest.approx(np.median(np.concatenate(trials)))
    assert (found.low, found.high, found.reason) == (None, None, f"no interval: {why}")


def test_only_a_trial_without_overlapping_requests_has_its_own_interval():
    found = over(drawn(1, 50), overlapped=False)
    assert found.basis == "this trial"
    assert found.low < found.value < found.high


def test_correlated_requests_leave_a_high_percentile_without_an_interval():
    rng = np.random.default_rng(3)
    trials = [np.exp(np.cumsum(rng.normal(0, 0.1, 500))) for _ in range(4)]  # every request close to the last
    assert correlation_time(trials) > 50
    found = over(trials, 95)
    assert found.value is not None
    assert found.reason.startswith("no interval: p95 takes 40 independent requests in every block, and 500 that wait")
    assert over(drawn(4, 500), 95).basis == "blocks"


def test_independent_requests_count_each_and_equal_ones_too():
    assert correlation_time(drawn(4, 2000)) == pytest.approx(1, abs=0.2)
    assert correlation_time([np.full(10, 3.0)] * 3) == 1


def test_a_percentile_takes_independent_requests_beyond_it_in_every_block():
    assert [independent_needed(p) for p in (50, 90, 95, 99)] == [4, 20, 40, 200]


def test_a_block_percentile_among_failed_requests_leaves_no_interval():
    trials = drawn(3, 100)
    trials[0][:60] = math.inf
    found = over(trials)
    assert found.low is None
    assert found.reason == "no interval: a block's percentile lies among its failed requests"


def test_too_few_requests_in_all_blocks_together_are_withheld():
    found = over(drawn(3, 20), 99)
    assert (found.value, found.n, found.needed) == (None, 60, 368)


def test_without_a_request_there_is_nothing():
    assert over([np.array([math.nan])]).value is None
