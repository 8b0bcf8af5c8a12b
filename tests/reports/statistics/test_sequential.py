"""Intervals that are looked at more than once; how often they hold is simulated in tests/truth/statistics/sim_adaptive.py."""

import math

import numpy as np
import pytest
from scipy import stats

from reports.statistics.ratios import compare
from reports.statistics.sequential import error_at
from reports.statistics.simultaneous import compare_together


def test_a_run_of_a_fixed_length_spends_its_whole_error_at_its_end():
    assert error_at(5, (), 0.05) == 0.05


def test_the_first_look_spends_a_quarter_whatever_comes_after_it():
    assert error_at(5, (5,), 0.05) == pytest.approx(0.05 / 4, rel=2e-3)
    assert error_at(5, (5, 6, 9), 0.05) == error_at(5, (5,), 0.05)


def test_a_look_between_two_that_were_planned_counts_as_the_next():
    assert error_at(4, (5, 8), 0.05) == error_at(5, (5, 8), 0.05)
    assert error_at(7, (5, 8), 0.05) == error_at(8, (5, 8), 0.05) < 0.05


def test_the_chance_of_leaving_out_the_truth_at_one_of_two_looks_is_that_of_t_values_drawn_at_random():
    rng = np.random.default_rng(3)
    values = rng.standard_normal((200_000, 6))
    missed = np.zeros(len(values), bool)
    for blocks in (3, 6):
        own = values[:, :blocks]
        t = own.mean(axis=1) / own.std(axis=1, ddof=1) * math.sqrt(blocks)
        missed |= abs(t) > stats.t.isf(error_at(blocks, (3, 6), 0.2) / 2, blocks - 1)
    assert missed.mean() == pytest.approx(0.2 * (1 - 0.75 * 3 / 6), rel=0.02)


def test_an_interval_that_may_be_looked_at_again_is_wider():
    own, baseline = {0: 1.0, 1: 1.1, 2: 0.9, 3: 1.05}, dict.fromkeys(range(4), 1.0)
    once, again = (compare(own, baseline, "higher", looks=looks) for looks in ((), (2, 4)))
    assert again.low < once.low < once.high < again.high
    assert again.ratio == once.ratio


def test_a_configuration_that_was_left_out_keeps_its_interval_when_the_others_go_on():
    rng = np.random.default_rng(5)
    logs = rng.normal(0, 0.01, (8, 4))

    def together(ends):
        own = [dict(enumerate(np.exp(logs[:end, k]).tolist())) for k, end in enumerate(ends)]
        compared = {str(k): compare(own[k], own[0], "higher") for k in (1, 2, 3)}
        return compare_together(compared, "higher", margin=0.01, looks=range(4, max(ends) + 1))

    early, late = together((5, 5, 5, 5)), together((8, 5, 8, 8))
    assert (late["1"].low, late["1"].high) == (early["1"].low, early["1"].high)
    assert late["2"].ratio != early["2"].ratio
