"""Which neurons stay, and of equals which: against `torch.topk` itself."""

from __future__ import annotations

from functools import cmp_to_key

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.scoring.selection import kept_neurons, ties_at_cut


def topk(scores: np.ndarray, width: int) -> list[int]:
    return sorted(torch.topk(torch.from_numpy(scores), width).indices.tolist())


def test_the_highest_scores_stay_in_ascending_order() -> None:
    scores = np.array([5, 1, 4, 9, 2], dtype=np.float32)
    assert kept_neurons(scores, 3, "stable").tolist() == [0, 2, 3]
    assert kept_neurons(scores, 3, "torch").tolist() == [0, 2, 3]


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.data())
def test_stable_keeps_the_lower_index_of_equals_so_widths_nest(values, data) -> None:
    scores = np.array(values, dtype=np.float32)
    width = data.draw(st.integers(1, len(values)))
    kept = kept_neurons(scores, width, "stable")
    by_rule = sorted(sorted(range(len(values)), key=lambda i: (-values[i], i))[:width])
    assert kept.tolist() == by_rule
    narrower = kept_neurons(scores, data.draw(st.integers(1, width)), "stable")
    assert set(narrower.tolist()) <= set(kept.tolist())


@settings(max_examples=500, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=300), st.data())
def test_torch_keeps_what_topk_keeps_of_many_ties(values, data) -> None:
    scores = np.array(values, dtype=np.float32)
    width = data.draw(st.integers(1, len(values)))
    assert kept_neurons(scores, width, "torch").tolist() == topk(scores, width)


@pytest.mark.parametrize("neurons", [200, 8192, 14336, 28672])
@pytest.mark.parametrize("share", [0.01, 1 / 64, 0.4, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("distinct", [1, 2, 310])
def test_torch_keeps_what_topk_keeps_at_real_widths(neurons: int, share: float, distinct: int) -> None:
    scores = np.random.default_rng(neurons).integers(0, distinct, neurons).astype(np.float32)
    width = max(1, int(share * neurons))
    assert kept_neurons(scores, width, "torch").tolist() == topk(scores, width)


@pytest.mark.parametrize("order", [1, -1])
def test_torch_keeps_what_topk_keeps_of_sorted_scores(order: int) -> None:
    scores = (np.arange(5000, dtype=np.float32) // 7)[::order].copy()
    assert kept_neurons(scores, 1234, "torch").tolist() == topk(scores, 1234)


class Adversary:
    """Decides scores only when they are compared, so that every pivot turns out a bad one (McIlroy, A killer adversary)."""

    def __init__(self, size: int) -> None:
        self.rank = [size] * size  # undecided: after everything decided
        self._decided = 0
        self._candidate = 0

    def before(self, a: int, b: int) -> bool:
        undecided = max(self.rank)
        if self.rank[a] == self.rank[b] == undecided:
            self.rank[a if a == self._candidate else b] = self._decided
            self._decided += 1
        if undecided in (self.rank[a], self.rank[b]):
            self._candidate = a if self.rank[a] == undecided else b
        return self.rank[a] < self.rank[b]


def scores_that_exhaust_quickselect(size: int) -> np.ndarray:
    adversary, items, first = Adversary(size), list(range(size)), 0
    while size - first > 3:
        trio = [first + 1, first + (size - first) // 2, size - 1]
        in_order = sorted(trio, key=cmp_to_key(lambda a, b: -1 if adversary.before(items[a], items[b]) else 1))
        items[first], items[in_order[1]] = items[in_order[1]], items[first]
        left, right = first + 1, size
        while True:
            while adversary.before(items[left], items[first]):
                left += 1
            right -= 1
            while adversary.before(items[first], items[right]):
                right -= 1
            if left >= right:
                break
            items[left], items[right] = items[right], items[left]
            left += 1
        first = left
    return -np.array(adversary.rank, dtype=np.float32)


def test_torch_keeps_what_topk_keeps_when_every_pivot_is_a_bad_one() -> None:
    scores = scores_that_exhaust_quickselect(400)
    scores[(scores < -120) & (scores > -240)] = -121  # equals at the cut show after how many rounds the heap takes over
    for width in range(125, 235, 7):
        assert kept_neurons(scores, width, "torch").tolist() == topk(scores, width)


def test_the_two_tie_breaks_differ_where_scores_tie() -> None:
    scores = np.random.default_rng(0).integers(0, 30, 1000).astype(np.float32)
    assert kept_neurons(scores, 500, "stable").tolist() != kept_neurons(scores, 500, "torch").tolist()


def test_ties_are_counted_at_the_cut_only() -> None:
    scores = np.array([1, 1, 2, 3, 3, 3, 9], dtype=np.float32)
    assert [ties_at_cut(scores, width) for width in range(1, 8)] == [1, 3, 3, 3, 1, 2, 2]
