from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports.statistics.correlation import correlate, correlate_all, holm

MEMORY = [0.61, 0.42, 0.35, 0.22, 0.24, 0.29, 0.21, 0.4, 0.33, 0.5]
HONESTY = [0.38, 0.41, 0.37, 0.45, 0.44, 0.46, 0.43, 0.39, 0.42, 0.4]


@pytest.mark.parametrize("n", [4, 7, 9, 10])
def test_figures_agree_with_scipys(n):
    x, y = MEMORY[:n], HONESTY[:n]
    found, pearson, spearman = correlate(x, y), stats.pearsonr(x, y), stats.spearmanr(x, y)
    interval = pearson.confidence_interval(0.95)
    assert (found.pearson, found.pearson_p) == pytest.approx((pearson.statistic, pearson.pvalue))
    assert (found.pearson_low, found.pearson_high) == pytest.approx((interval.low, interval.high))
    assert found.spearman == pytest.approx(spearman.statistic)
    assert found.n == n
    if n > 8:
        assert found.spearman_p == pytest.approx(spearman.pvalue)


def test_seven_ranks_in_order_are_two_orders_of_5040():
    found = correlate(range(7), [x**3 for x in range(7)])
    assert found.spearman == pytest.approx(1.0)  # exact on some processors
    assert found.spearman_p == pytest.approx(2 / math.factorial(7))


def test_unrelated_columns_are_called_related_as_often_as_the_level_says():
    rng = np.random.default_rng(0)
    found = [correlate(*rng.normal(size=(2, 7))) for _ in range(2000)]
    assert 0.035 <= np.mean([c.pearson_p < 0.05 for c in found]) <= 0.065
    assert 0.03 <= np.mean([c.spearman_p < 0.05 for c in found]) <= 0.06  # exact p-values come in steps
    assert 0.935 <= np.mean([c.pearson_low <= 0 <= c.pearson_high for c in found]) <= 0.965


def test_pairs_that_lack_a_value_do_not_count():
    found = correlate([1.0, None, 2.0, 3.0, math.nan, 4.0], [2.0, 5.0, 4.0, 5.0, 1.0, 9.0])
    assert found.n == 4
    assert found.pearson == pytest.approx(stats.pearsonr([1, 2, 3, 4], [2, 4, 5, 9]).statistic)


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [([1.0, 2.0], [1.0, 2.0], "2 pairs: three are needed"), ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], "does not vary")],
)
def test_what_cannot_be_correlated_says_why(x, y, reason):
    found = correlate(x, y)
    assert (found.pearson, found.spearman) == (None, None)
    assert reason in found.reason


def test_holms_correction_is_the_step_down_one():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_a_test_that_could_not_be_made_does_not_count_in_holms_correction():
    assert holm([0.02, None, 0.03]) == [0.04, None, 0.04]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
@settings(deadline=None)
def test_corrected_p_values_keep_their_order_and_lie_between_the_plain_ones_and_bonferronis(values):
    corrected = holm(values)
    pairs = sorted(zip(values, corrected, strict=True))
    assert [c for _, c in pairs] == sorted(corrected)
    assert all(p <= c <= min(1.0, p * len(values)) + 1e-12 for p, c in pairs)


def test_many_unrelated_pairs_give_a_false_finding_in_one_family_of_20_at_most():
    rng = np.random.default_rng(1)
    families = [correlate_all({f"task {i}": row for i, row in enumerate(rng.normal(size=(5, 9)))}) for _ in range(400)]
    plain = np.mean([min(c.pearson_p for c in f.values()) < 0.05 for f in families])
    corrected = np.mean([min(c.pearson_p_holm for c in f.values()) < 0.05 for f in families])
    assert plain > 0.3
    assert corrected <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_only_the_pairs_asked_for_are_correlated():
    columns = {"mmlu": MEMORY, "truthfulqa": HONESTY, "ratio": list(range(10))}
    found = correlate_all(columns, [("mmlu", "truthfulqa")])
    assert list(found) == [("mmlu", "truthfulqa")]
    assert found["mmlu", "truthfulqa"].pearson_p_holm == found["mmlu", "truthfulqa"].pearson_p
