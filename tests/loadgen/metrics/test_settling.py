"""The test for a transient at the beginning of a window, on tables of generations' times."""

from __future__ import annotations

import numpy as np
import pytest

from loadgen.metrics.settling import FEWEST, settling


def noisy(generations, noise=0.01, seed=1):
    return 1 + noise * np.random.default_rng(seed).normal(size=generations)


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize(
    "shape", [np.arange(30) < 10, np.exp(-np.arange(30) / 4), np.clip(1 - np.arange(30) / 20, 0, None)]
)
def test_a_transient_is_found_with_the_shift_that_it_gave_the_mean(shape, direction):
    shift = direction * 0.02
    found = settling(noisy(30) * (1 + shift * shape / shape.mean()))
    assert found.found
    assert found.shift == pytest.approx(shift, rel=0.3)


def test_noise_alone_is_found_in_fewer_than_one_window_in_twenty_and_says_what_would_have_shown():
    quiet = [settling(noisy(30, seed=seed)) for seed in range(200)]
    assert sum(each.found for each in quiet) <= 10
    assert np.median([each.visible for each in quiet]) == pytest.approx(0.0094, rel=0.1)


def test_noise_that_lasts_from_one_generation_to_the_next_is_seldom_taken_for_a_transient():
    found = 0
    for seed in range(100):
        noise = noisy(60, 0.03, seed) - 1
        for n in range(1, 60):
            noise[n] += 0.5 * noise[n - 1]
        found += settling(1 + noise).found
    assert found <= 15  # a third of the windows, were the generations taken for independent


def test_what_would_have_shown_is_less_the_more_generations_and_the_less_noise():
    assert settling(noisy(100)).visible < settling(noisy(20)).visible < settling(noisy(20, 0.05)).visible


def test_a_sure_shift_that_does_not_matter_is_none():
    times = np.where(np.arange(40) < 10, 1.01, 1.0)
    found = settling(times)
    assert not found.found
    assert found.shift == pytest.approx(0.0025, rel=0.25)
    assert settling(np.where(np.arange(40) < 10, 1.03, 1.0)).found


def test_a_change_at_the_end_is_no_transient_that_settled():
    assert not settling(np.where(np.arange(40) > 38, 1.1, 1.0) * noisy(40)).found


def test_generations_that_are_all_alike_are_settled_and_too_few_say_nothing():
    assert not settling(np.ones(20)).found
    assert settling(np.ones(FEWEST - 1)) is None
    assert settling([]) is None
