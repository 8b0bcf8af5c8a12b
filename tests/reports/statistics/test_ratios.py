from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from reports.statistics.ratios import MARGIN, compare, mean_interval


def simulate(true_ratio: float, rng: np.random.Generator, blocks: int = 5) -> tuple[dict[int, float], dict[int, float]]:
    """Trials of two configurations in the same blocks: a large effect of the block, a small one of the trial."""
    shared = np.exp(rng.normal(0, 0.2, blocks))
    own, baseline = (shared * np.exp(rng.normal(0, 0.02, blocks)) for _ in range(2))
    return dict(enumerate(100 * true_ratio * own)), dict(enumerate(100 * baseline))


@pytest.mark.parametrize("margin", [0.0, MARGIN])
def test_equal_configurations_are_called_better_or_worse_in_at_most_7_of_100_runs(margin):
    rng = np.random.default_rng(1)
    verdicts = [compare(*simulate(1.0, rng), "higher", margin=margin).verdict for _ in range(2000)]
    assert sum(v in {"equivalent", "undecided"} for v in verdicts) / 2000 >= 0.93


def test_a_difference_of_exactly_the_margin_is_rarely_called_better_or_equivalent():
    rng = np.random.default_rng(4)
    found = [compare(*simulate(1.05, rng, 8), "higher", margin=0.05) for _ in range(2000)]
    assert sum(c.verdict == "better" for c in found) / 2000 <= 0.035
    assert sum(c.verdict == "equivalent" for c in found) / 2000 <= 0.035


def test_equal_configurations_are_shown_to_be_so_where_the_margin_allows():
    rng = np.random.default_rng(5)
    found = [compare(*simulate(1.0, rng, 8), "higher", margin=0.1) for _ in range(500)]
    assert sum(c.verdict == "equivalent" for c in found) / 500 > 0.98


@pytest.mark.parametrize("noise", ["gamma", "student"])
def test_intervals_hold_the_truth_where_noise_is_skewed_or_has_heavy_tails(noise):
    rng = np.random.default_rng(6)
    draw = {"gamma": lambda: np.log(rng.gamma(4, size=5)), "student": lambda: 0.1 * rng.standard_t(5, size=5)}[noise]
    covered = 0
    for _ in range(2000):
        own, baseline = np.exp(draw()), np.exp(draw())
        found = compare(dict(enumerate(0.8 * own)), dict(enumerate(baseline)), "lower")
        covered += found.low <= 0.8 <= found.high
    assert covered / 2000 >= 0.94


def test_a_bootstrap_of_five_blocks_has_too_short_intervals():
    rng = np.random.default_rng(7)
    logs = rng.normal(0, 0.05, (2000, 5))
    means = logs[np.arange(2000)[:, None, None], rng.integers(0, 5, (2000, 400, 5))].mean(axis=2)
    low, high = np.percentile(means, [2.5, 97.5], axis=1)
    assert np.mean((low <= 0) & (high >= 0)) < 0.88
    intervals = [mean_interval(list(row)) for row in logs]
    assert 0.94 <= np.mean([i.low <= 0 <= i.high for i in intervals]) <= 0.96


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


def test_a_margin_requires_more_than_a_difference():
    own, baseline = {0: 1.03, 1: 1.031, 2: 1.029}, {0: 1.0, 1: 1.0, 2: 1.0}
    assert compare(own, baseline, "higher").verdict == "better"
    within = compare(own, baseline, "higher", margin=0.05)
    assert (within.verdict, within.margin) == ("equivalent", 0.05)


def test_an_interval_across_the_margin_is_undecided_and_says_what_would_have_been_decided():
    found = compare({0: 1.0, 1: 1.09, 2: 1.03}, {0: 1.0, 1: 1.0, 2: 1.0}, "higher", margin=0.05)
    assert found.verdict == "undecided"
    larger, smaller = (
        {b: found.smallest_effect * factor / found.ratio * r for b, r in found.ratios.items()}
        for factor in (1.001, 0.999)
    )
    baseline = dict.fromkeys(found.ratios, 1.0)
    assert compare(larger, baseline, "higher", margin=0.05).verdict == "better"
    assert compare(smaller, baseline, "higher", margin=0.05).verdict == "undecided"


def test_a_negative_margin_is_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        compare({0: 1.0, 1: 1.1}, {0: 1.0, 1: 1.0}, "higher", margin=-0.1)


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


def test_where_neither_more_nor_less_is_better_there_is_an_interval_and_no_verdict():
    own, baseline = {0: 20.0, 1: 21.0, 2: 20.5}, {0: 10.0, 1: 10.0, 2: 10.0}
    judged, length = (compare(own, baseline, better) for better in ("higher", "neither"))
    assert (judged.verdict, length.verdict) == ("better", None)
    assert (length.ratio, length.low, length.high) == (judged.ratio, judged.low, judged.high)
    assert length.reason == "neither more nor less of it is better"
