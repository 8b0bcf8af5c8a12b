"""Request records in batches of columns: a million requests of a hundred tokens fit in memory as arrays, not as Python objects."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import overload

import numpy as np
import numpy.typing as npt

from loadgen.records.batch import Batch, Integers
from loadgen.records.schema import RequestRecord

ROWS_AT_ONCE = 16_384  # with 128 tokens each about 2 M arrivals: some tens of MB


class Records(Sequence[RequestRecord]):
    """Batches of request records that read as a list of them: each is made when it is asked for."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = [batch for batch in batches if len(batch)]
        self._ends = list(accumulate(map(len, self._batches)))

    @classmethod
    def of(cls, records: Sequence[RequestRecord]) -> Records:
        """The same records as columns."""
        if isinstance(records, Records):
            return records
        return cls([Batch.of(records[n : n + ROWS_AT_ONCE]) for n in range(0, len(records), ROWS_AT_ONCE)])

    def batches(self, columns: Sequence[str] | None = None, rows: int = ROWS_AT_ONCE) -> Iterator[Batch]:
        """Batches of at most `rows`, of all columns or some."""
        for batch in self._batches:
            chosen = batch if columns is None else batch.select(columns)
            for start in range(0, len(chosen), rows):
                yield chosen.cut(start, min(start + rows, len(chosen)))

    def column(self, name: str, missing: int = -1) -> npt.NDArray[np.int64]:
        """A column of numbers, `missing` where there is none."""
        return np.concatenate([np.empty(0, np.int64), *(batch.numbers(name, missing) for batch in self._batches)])

    def valid(self, name: str) -> npt.NDArray[np.bool_]:
        """Which records have a number or a word there."""
        return np.concatenate([np.empty(0, bool), *(batch.valid(name) for batch in self._batches)])

    def times(self, name: str) -> npt.NDArray[np.int64]:
        """A column of numbers, of the records that have one."""
        return self.column(name)[self.valid(name)]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[RequestRecord]:
        for batch in self.batches(rows=256):
            for row in batch.rows():
                yield RequestRecord(**row)

    @overload
    def __getitem__(self, at: int) -> RequestRecord: ...
    @overload
    def __getitem__(self, at: slice) -> list[RequestRecord]: ...
    def __getitem__(self, at: int | slice) -> RequestRecord | list[RequestRecord]:
        if isinstance(at, slice):
            return [self[n] for n in range(*at.indices(len(self)))]
        place = range(len(self))[at]  # negative ones count from the end, and IndexError is Python's own
        number = bisect(self._ends, place)
        within = place - (self._ends[number] - len(self._batches[number]))
        return RequestRecord(**next(self._batches[number].cut(within, within + 1).rows()))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sequence)
            and len(other) == len(self)
            and all(a == b for a, b in zip(self, other, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]  # a table is compared, never looked up


def in_order(batches: list[Batch]) -> Records:
    """Records in the order of `index`, made of batches in the order in which requests ended; the list is used up.

    Only rows that are out of order are held twice: a row is passed on as soon as no later batch has a lower index.
    """
    lowest_later = np.full(len(batches) + 1, np.iinfo(np.int64).max)
    for n in range(len(batches) - 1, -1, -1):
        lowest_later[n] = min(lowest_later[n + 1], _indices(batches[n]).min(initial=np.iinfo(np.int64).max))
    done: list[Batch] = []
    held: list[Batch] = []
    batches.reverse()
    for limit in lowest_later[1:]:
        joined = Batch.joined([*held, batches.pop()])
        joined = joined.take(np.argsort(_indices(joined), kind="stable"))
        ready = int(np.searchsorted(_indices(joined), limit))
        done.append(joined.cut(0, ready))
        held = [joined.cut(ready, len(joined))]
    return Records(done)


def _indices(batch: Batch) -> Integers:
    return batch.numbers("index")
