from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from reports.statistics.ratios import Comparison, compare
from reports.statistics.simultaneous import compare_together, critical, half_width


def family(logs: np.ndarray, missing: frozenset[tuple[int, int]] = frozenset()) -> dict[str, Comparison]:
    """Configurations against the baseline in the first column; `missing` are (block, column) never measured."""
    values = [
        {b: math.exp(v) for b, v in enumerate(column) if (b, k) not in missing} for k, column in enumerate(logs.T)
    ]
    return {str(k): compare(own, values[0], "higher") for k, own in enumerate(values) if k}


def test_one_comparison_alone_has_students_t_interval():
    alone = family(np.random.default_rng(1).normal(0, 0.02, (5, 2)))
    together = compare_together(alone, "higher", margin=0.01)["1"]
    assert (together.low, together.high) == pytest.approx((alone["1"].low, alone["1"].high))
    assert (together.verdict, together.ratios) == (alone["1"].verdict, alone["1"].ratios)


def test_more_configurations_and_more_groups_need_wider_intervals():
    assert critical(np.ones((5, 1), bool), 0.95) == pytest.approx(stats.t.ppf(0.975, 4))
    assert critical(np.ones((5, 7), bool), 0.95) > critical(np.ones((5, 2), bool), 0.95)
    assert half_width(5, 7, 4) > half_width(5, 7, 1)
    assert half_width(10, 7, 4) < half_width(5, 7, 4)


def test_the_critical_value_is_between_dunnetts_and_that_of_separate_spreads():
    """Dunnett's table, two-sided 5 %, seven treatments, 28 degrees of freedom: 2.68. Bonferroni's t of 4: 4.85."""
    assert 2.68 < critical(np.ones((5, 7), bool), 0.95) < stats.t.ppf(1 - 0.025 / 7, 4)


def test_a_disturbed_trial_widens_the_interval_of_its_configuration_alone():
    rng = np.random.default_rng(2)
    logs = rng.normal(0, 0.01, (5, 5))
    noisy = logs.copy()
    noisy[0, 4] += 0.5
    before, after = (compare_together(family(one), "higher", margin=0.01) for one in (logs, noisy))
    widths = [[math.log(found[k].high / found[k].low) for k in "1234"] for found in (before, after)]
    assert widths[1][3] > 10 * widths[0][3]
    assert max(widths[1][:3]) < 1.5 * max(widths[0][:3])


def test_a_block_that_lacks_a_configuration_leaves_the_others_in_it():
    logs = np.random.default_rng(3).normal(0, 0.02, (5, 4))
    whole = compare_together(family(logs), "higher", margin=0.01)
    found = compare_together(family(logs, frozenset({(4, 3)})), "higher", margin=0.01)
    assert sorted(found["3"].ratios) == [0, 1, 2, 3]
    assert found["1"].ratio == whole["1"].ratio
    assert math.log(found["2"].high / found["2"].low) == pytest.approx(
        math.log(whole["2"].high / whole["2"].low), rel=0.3
    )


def test_a_comparison_without_a_verdict_keeps_its_reason_and_is_not_counted():
    logs = np.random.default_rng(4).normal(0, 0.02, (5, 3))
    without = {"x": Comparison(ratio=1.0, reason="a single block has no interval")}
    found = compare_together(family(logs) | without, "higher", margin=0.01)
    assert found["x"] == without["x"]
    assert found["1"] == compare_together(family(logs), "higher", margin=0.01)["1"]
    assert compare_together(without, "higher", margin=0.01) == without
