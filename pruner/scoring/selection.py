"""Select the k neurons with the highest scores, with two ways to decide between equal ones.

bfloat16 weights give few distinct scores, so dozens of neurons tie at a cut. "stable" keeps the lower index, so narrower
cuts nest in wider ones. "torch" keeps what `torch.topk` keeps on a CPU, which no rule on indices describes: the elements that
the C++ library's selection leaves in front (`aten/src/ATen/native/TopKImpl.h`: partial_sort when 64 k <= n, nth_element
otherwise). The pruner must run without torch, so those two algorithms are reimplemented here, comparison by comparison, as
libstdc++ runs them; checked against torch 2.13. They do not depend on torch's version as long as that file does not change.
"""

from __future__ import annotations

import heapq
from typing import Literal

import numpy as np
from numpy.typing import NDArray

TieBreak = Literal["stable", "torch"]
Indices = NDArray[np.int64]
Scores = NDArray[np.float32]


def kept_neurons(scores: Scores, width: int, tie_break: TieBreak) -> Indices:
    """Ascending indices of the `width` neurons that stay. Scores are finite, 1 <= width <= len(scores)."""
    if width == len(scores):
        return np.arange(width)
    if tie_break == "torch":
        return np.sort(
            _front_of_partial_sort(scores, width) if 64 * width <= len(scores) else _front_of_nth(scores, width)
        )
    return np.sort(np.argsort(-scores, kind="stable")[:width])


def ties_at_cut(scores: Scores, width: int) -> int:
    """How many neurons share the score of the last one kept, that one included."""
    last = np.partition(scores, len(scores) - width)[len(scores) - width]
    return int(np.count_nonzero(scores == last))


class _Entry(float):
    """A score that compares as a number and carries its neuron's index."""

    index: int


def _entries(scores: Scores, indices: Indices) -> list[_Entry]:
    entries = [_Entry(score) for score in scores[indices].tolist()]
    for entry, index in zip(entries, indices.tolist(), strict=True):
        entry.index = index
    return entries


def _front_of_partial_sort(scores: Scores, k: int) -> Indices:
    return _heap_select(scores, np.arange(len(scores)), k)


def _heap_select(scores: Scores, order: Indices, k: int) -> Indices:
    """A heap of the first k, its worst on top; each later one that is better replaces the top.

    Python's heapq sifts as libstdc++ does: to the leaves along the lesser child, the right one of equals, and back up.
    """
    entries = _entries(scores, order)
    heap = entries[:k]
    heapq.heapify(heap)
    for entry in entries[k:]:
        if entry > heap[0]:
            heapq.heapreplace(heap, entry)
    return np.array([entry.index for entry in heap])


def _front_of_nth(scores: Scores, k: int) -> Indices:
    """Quickselect: partition around a median of three until the k-th place lies in a span of at most three."""
    order = np.arange(len(scores))
    first, last, nth = 0, len(scores), k - 1
    rounds_left = 2 * (len(scores).bit_length() - 1)
    while last - first > 3:
        if rounds_left == 0:  # unlucky pivots: the library falls back on the heap
            order[first : nth + 1] = _heap_select(scores, order[first:last], nth + 1 - first)
            return order[:k]
        rounds_left -= 1
        _median_to_front(scores, order, first, last)
        cut = _partition(scores, order, first, last)
        if cut <= nth:
            first = cut
        else:
            last = cut
    order[first:last] = order[first:last][np.argsort(-scores[order[first:last]], kind="stable")]
    return order[:k]


def _median_to_front(scores: Scores, order: Indices, first: int, last: int) -> None:
    """Swap the median of the second, middle and last element into the first place."""
    places = [first + 1, first + (last - first) // 2, last - 1]
    place = places[_median_of_three(*(float(scores[order[place]]) for place in places))]
    order[first], order[place] = order[place], order[first]


def _median_of_three(a: float, b: float, c: float) -> int:
    """Position of the median; of equals, the one that the library's order of comparisons finds."""
    if a > b:
        return 1 if b > c else 2 if a > c else 0
    return 0 if a > c else 2 if b > c else 1


def _partition(scores: Scores, order: Indices, first: int, last: int) -> int:
    """Hoare's partition around order[first]; returns where the part that is not better begins.

    The two scans of the loop stop at places that can be listed beforehand, since a swapped element is never met again:
    from the left at what is not better than the pivot, from the right at what is not worse.
    """
    values = scores[order[first:last]]
    pivot = values[0]
    from_left = np.flatnonzero(values[1:] <= pivot) + 1
    from_right = np.flatnonzero(values >= pivot)[::-1]  # the pivot itself is the last stop
    pairs = min(len(from_left), len(from_right))
    swaps = int(np.count_nonzero(from_left[:pairs] < from_right[:pairs]))
    left, right = first + from_left[:swaps], first + from_right[:swaps]
    order[left], order[right] = order[right], order[left]
    left_stops = from_left[
        swaps : swaps + 1
    ]  # where the left scan ends for good: its next place, or what it swapped last
    return first + int(min([*left_stops, *from_right[:swaps][-1:]]))
