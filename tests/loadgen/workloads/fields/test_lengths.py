from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from loadgen.workloads.fields.lengths import check_tokens, draw_tokens, most_tokens


@pytest.mark.parametrize(
    ("given", "meant"), [(5, 5), ("128", 128), ("uniform:64-256", "uniform:64-256"), ("normal:9.5,2", "normal:9.5,2")]
)
def test_what_is_a_length(given, meant):
    assert check_tokens(given) == meant


@pytest.mark.parametrize(
    "given",
    [
        0,
        -1,
        "0",
        "many",
        "uniform:64",
        "uniform:9-3",
        "uniform:0-3",
        "normal:5",
        "normal:0,1",
        "lognormal:9,1,5-2",
        "lognormal:p50=9,p90=8",
        "lognormal:p50=0,p90=8",
        "lognormal:p50=9,p90=99,5-2",
        "1.5",
    ],
)
def test_what_is_none(given):
    with pytest.raises(ValueError, match=r"must be|limits"):
        check_tokens(given)


def draws(tokens, n=4000):
    return np.array([draw_tokens(tokens, f"1/prompt/{i}") for i in range(n)])


def test_uniform_lengths_are_all_alike_and_hold_both_limits():
    found = draws("uniform:10-19")
    counts = np.bincount(found)[10:]
    assert (found.min(), found.max(), len(counts)) == (10, 19, 10)
    assert stats.chisquare(counts).pvalue > 0.01


def test_normal_lengths_are_a_rounded_normal_distribution():
    found = draws("normal:500,80")
    dithered = found + np.random.default_rng(0).uniform(-0.5, 0.5, len(found))
    assert stats.kstest(dithered, stats.norm(500, 80).cdf).pvalue > 0.01


def test_lognormal_lengths_have_the_mean_and_deviation_asked_for_in_tokens():
    found = draws("lognormal:500,400")
    sigma = math.sqrt(math.log1p(0.8**2))
    dithered = found + np.random.default_rng(0).uniform(-0.5, 0.5, len(found))
    assert stats.kstest(dithered, stats.lognorm(sigma, scale=500 * math.exp(-(sigma**2) / 2)).cdf).pvalue > 0.01
    assert found.mean() == pytest.approx(500, rel=0.05)
    assert found.std() == pytest.approx(400, rel=0.1)


def test_lognormal_lengths_have_the_median_and_the_90th_percentile_asked_for():
    found = draws("lognormal:p50=300,p90=1200")
    assert np.percentile(found, [50, 90]) == pytest.approx([300, 1200], rel=0.08)
    assert set(draws("lognormal:p50=300,p90=1200,250-260", 300)) <= set(range(250, 261))
    assert set(draws("lognormal:p50=7,p90=7", 9)) == {7}
    assert most_tokens("lognormal:p50=300,p90=1200,16-4096") == 4096


def test_limits_hold_and_a_length_is_never_below_one():
    assert set(draws("lognormal:100,300,50-60", 300)) <= set(range(50, 61))
    assert draws("normal:1,50", 300).min() == 1


def test_the_longest_is_known_where_there_is_a_limit():
    asked = (7, "uniform:3-9", "normal:5,2", "lognormal:100,3,5-600")
    assert [most_tokens(tokens) for tokens in asked] == [7, 9, None, 600]
