from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from reports.statistics import compare, mean_interval


def simulate(true_ratio: float, rng: np.random.Generator, blocks: int = 5) -> tuple[dict[int, float], dict[int, float]]:
    """Trials of two configurations in the same blocks: a large effect of the block, a small one of the trial."""
    shared = np.exp(rng.normal(0, 0.2, blocks))
    own, baseline = (shared * np.exp(rng.normal(0, 0.02, blocks)) for _ in range(2))
    return dict(enumerate(100 * true_ratio * own)), dict(enumerate(100 * baseline))


def test_equal_configurations_are_called_so_in_at_least_93_of_100_runs():
    rng = np.random.default_rng(1)
    verdicts = [compare(*simulate(1.0, rng), "higher").verdict for _ in range(2000)]
    assert verdicts.count("no detectable difference") / 2000 >= 0.93


@pytest.mark.parametrize("blocks", [3, 5, 12])
def test_95_of_100_intervals_hold_the_true_ratio(blocks):
    rng = np.random.default_rng(blocks)
    found = [compare(*simulate(1.3, rng, blocks), "higher") for _ in range(1500)]
    covered = sum(c.low <= 1.3 <= c.high for c in found) / 1500
    assert 0.935 <= covered <= 0.965


def test_a_real_gain_of_a_tenth_is_found_through_block_effects_twice_its_size():
    rng = np.random.default_rng(3)
    verdicts = [compare(*simulate(1.1, rng), "higher").verdict for _ in range(300)]
    assert verdicts.count("better") / 300 > 0.98


def test_the_interval_is_that_of_a_paired_t_test_on_logarithms():
    own, baseline = [1.31, 1.22, 1.4, 1.35], [1.0, 1.05, 1.02, 0.97]
    found = compare(dict(enumerate(own)), dict(enumerate(baseline)), "higher")
    expected = stats.ttest_rel(np.log(own), np.log(baseline)).confidence_interval(0.95)
    assert (math.log(found.low), math.log(found.high)) == pytest.approx((expected.low, expected.high))


def test_lower_is_better_turns_the_verdict_round():
    own, baseline = {0: 2.0, 1: 2.1, 2: 2.05}, {0: 1.0, 1: 1.0, 2: 1.0}
    assert compare(own, baseline, "higher").verdict == "better"
    assert compare(own, baseline, "lower").verdict == "worse"
    assert compare(baseline, own, "lower").verdict == "better"


def test_a_margin_asks_for_more_than_a_difference():
    own, baseline = {0: 1.03, 1: 1.031, 2: 1.029}, {0: 1.0, 1: 1.0, 2: 1.0}
    assert compare(own, baseline, "higher").verdict == "better"
    assert compare(own, baseline, "higher", margin=0.05).verdict == "no detectable difference"


def test_only_blocks_with_both_are_paired():
    found = compare({0: 2.0, 1: 2.0, 3: 9.0}, {0: 1.0, 1: 1.0, 2: 5.0}, "higher")
    assert found.ratios == {0: 2.0, 1: 2.0}
    assert found.ratio == pytest.approx(2.0)


def test_one_block_gives_a_ratio_without_a_verdict():
    found = compare({0: 3.0}, {0: 2.0}, "higher")
    assert (found.ratio, found.low, found.verdict) == (pytest.approx(1.5), None, None)
    assert found.reason == "a single block has no interval"


@pytest.mark.parametrize(
    ("own", "baseline", "reason"),
    [
        ({0: 1.0}, {1: 1.0}, "no block has both"),
        ({0: -1.0}, {0: 1.0}, "not positive"),
        ({0: 1.0}, {0: 0.0}, "not positive"),
    ],
)
def test_what_cannot_be_compared_says_why(own, baseline, reason):
    found = compare(own, baseline, "higher")
    assert found.ratio is None
    assert reason in found.reason


def test_the_mean_of_one_value_has_no_interval():
    found = mean_interval([4.0])
    assert (found.mean, found.low, found.high, found.n) == (4.0, None, None, 1)


def test_a_mean_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])
