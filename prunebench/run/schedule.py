"""From labels and workloads to the cells to measure, in order: pure, so that a resumed run has the same schedule.

A balanced order is made of groups of blocks. In a pair the second block is the first reversed, so both together put every
configuration at the same mean place. One block left over is measured in a group of three with equal sums of places (an even
number of configurations cannot have equal sums in three blocks: half of them are one place earlier, and the next group of three
makes up for it). Under a linear drift equal mean places leave every ratio to the baseline unchanged.

A block that is added because of the results has only the configurations that still need it, in the order that balances those best:
whoever came late so far comes early.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from reports.runs.records.cells import TrialCell
from reports.runs.records.run import OrderRule, RunInfo


@dataclass(frozen=True)
class Visit:
    """One configuration's turn within a block: its server is up and every workload is measured."""

    block: int
    label: str
    cells: tuple[TrialCell, ...]

    def without(self, finished: Callable[[TrialCell], bool]) -> Visit:
        """The same visit with only the cells that are not finished."""
        return replace(self, cells=tuple(cell for cell in self.cells if not finished(cell)))


@dataclass(frozen=True)
class Order:
    """How blocks are ordered. `counts`: the blocks scheduled when the run began, then the total whenever some were added.

    `singles`: the blocks after those that the results asked for one by one, each without the labels that were `settled` by then
    (label -> blocks it is part of).
    """

    counts: tuple[int, ...]
    rule: OrderRule = "balanced"
    singles: int = 0
    settled: Mapping[str, int] = field(default_factory=dict)

    @property
    def blocks(self) -> int:
        """All so far."""
        return self.counts[-1] + self.singles

    @classmethod
    def of_run(cls, info: RunInfo | None, blocks: int) -> Order:
        """The order of a run of `blocks` blocks: a new one if `info` is None, else the one it began with, extended."""
        if info is None:
            return cls((blocks,))
        counts = tuple(info.block_counts) or (info.blocks,)
        if info.adaptive is not None:
            return cls(counts, info.order, info.blocks - counts[-1], info.adaptive.settled)
        return cls(counts if counts[-1] >= blocks else (*counts, blocks), info.order)


def schedule_visits(
    labels: Sequence[str], workloads: Sequence[str], order: Order, *, seed: int, baseline: str
) -> list[Visit]:
    """Every block visits every configuration once; the seed deals places to configurations, and to workloads within a visit.

    Blocks added to `order.counts` come after those that were there, which keep their places.
    """
    if order.rule == "shuffled":
        return _shuffled(labels, workloads, blocks=order.counts[-1], seed=seed)
    visits = []
    place = 0
    counts = (*order.counts, *range(order.counts[-1] + 1, order.blocks + 1))
    turns_by_block = balanced_orders(labels, order.counts, seed=f"{seed}/configurations", middle=baseline)
    for block in range(order.counts[-1], order.blocks):
        left = [label for label in labels if order.settled.get(label, order.blocks) > block]
        turns_by_block.append(_evening(left, turns_by_block, baseline, random.Random(f"{seed}/added/{block}")))
    by_block = zip(
        turns_by_block,
        balanced_orders(workloads, counts, seed=f"{seed}/workloads"),  # one order a block, the same for all
        strict=True,
    )
    for block, (turns, names) in enumerate(by_block):
        for label in turns:
            cells = [TrialCell(block=block, label=label, workload=n, order=place + i) for i, n in enumerate(names)]
            place += len(cells)
            visits.append(Visit(block, label, tuple(cells)))
    return visits


def balanced_orders(
    names: Sequence[str], counts: Sequence[int], *, seed: str, middle: str | None = None
) -> list[list[str]]:
    """An order of `names` for each of `counts[-1]` blocks, their sums of places as equal as can be at each of `counts`.

    The sums are equal if blocks x (names + 1) is even, else within one of each other. A single block, or one that is added alone,
    cannot be balanced: it has `middle` in the middle, and blocks that are added to it balance it.
    """
    orders: list[list[str]] = []
    late: frozenset[str] = (
        frozenset()
    )  # names whose sum is half a place above the mean; the others are half a place below
    alone: list[str] | None = None  # the last block, if it has no group yet
    for count in counts:
        shuffle = random.Random(f"{seed}/{len(orders)}")
        begun = len(orders) - (alone is not None)
        first, blocks = alone, count - begun
        if blocks == 1 and first is None:
            alone = _dealt(names, late, shuffle, middle)
            orders.append(alone)
            continue
        alone = None
        groups: list[list[str]] = []
        if blocks % 2:
            slots = first or _dealt(names, late, shuffle)
            groups += [[slots[i] for i in row] for row in _three_rows(len(names))]
            late = frozenset() if late or len(names) % 2 else frozenset(slots[len(names) // 2 :])
            first = None
        while len(groups) < blocks:
            turns = first or shuffle.sample(names, len(names))
            groups += [turns, turns[::-1]]
            first = None
        orders[begun:] = groups
    return orders


def _evening(left: Sequence[str], before: Sequence[Sequence[str]], baseline: str, shuffle: random.Random) -> list[str]:
    """An order of the labels left, in which those come first that came the latest after the baseline `before`, added up."""
    after: Counter[str] = Counter()
    for turns in before:
        middle = turns.index(baseline)
        after.update({label: place - middle for place, label in enumerate(turns)})
    if not any(after[label] for label in left):
        return _dealt(left, frozenset(), shuffle, baseline)
    return sorted(shuffle.sample(left, len(left)), key=lambda label: -after[label])


def _dealt(names: Sequence[str], late: frozenset[str], shuffle: random.Random, middle: str | None = None) -> list[str]:
    """A block that three rows can begin with: names that are late so far are in its first half, `middle` in the middle."""
    half = len(names) // 2
    turns = shuffle.sample(names, len(names))
    if late:
        turns.sort(key=lambda name: name not in late)
    if middle is not None and middle in names:
        first_half = middle in late if late else shuffle.random() < 0.5
        spot = half - (first_half and len(names) % 2 == 0)
        at = turns.index(middle)
        turns[at], turns[spot] = turns[spot], turns[at]
    return turns


def _three_rows(number: int) -> Iterator[list[int]]:
    """Three orders of 0 … number - 1, the first as it is, in which the places of each add up to the same.

    Of an even number the first half add up to one less than the second.
    """
    half = number // 2
    yield list(range(number))
    if number % 2:
        second = [(i + half + 1) % number for i in range(number)]
        third = [number - 2 - 2 * i if i < half else 2 * (number - 1 - i) for i in range(number)]
    else:
        second = [(i + half) % number for i in range(number)]
        third = [number - 2 - 2 * i if i < half else 2 * number - 1 - 2 * i for i in range(number)]
    for places in (second, third):
        yield sorted(range(number), key=places.__getitem__)


def _shuffled(labels: Sequence[str], workloads: Sequence[str], *, blocks: int, seed: int) -> list[Visit]:
    """The order of runs recorded before there was a balanced one: shuffled again in each block, by seed and block alone."""
    visits = []
    order = 0
    for block in range(blocks):
        shuffle = random.Random(f"{seed}/{block}")
        for label in shuffle.sample(labels, len(labels)):
            names = shuffle.sample(workloads, len(workloads))
            cells = [TrialCell(block=block, label=label, workload=n, order=order + i) for i, n in enumerate(names)]
            order += len(cells)
            visits.append(Visit(block, label, tuple(cells)))
    return visits
