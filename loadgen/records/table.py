"""Request records as columns: a million requests of a hundred tokens fit in memory as arrays, not as Python objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loadgen.records.schema import REQUEST_SCHEMA, RequestRecord

ROWS_AT_ONCE = 16_384  # with 128 tokens each about 2 M arrivals: some tens of MB


class Records(Sequence[RequestRecord]):
    """A table of request records that reads as a list of them: each is made when it is asked for."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def of(cls, records: Sequence[RequestRecord]) -> Records:
        """The same records as columns."""
        if isinstance(records, Records):
            return records
        batches = [record_batch(records[n : n + ROWS_AT_ONCE]) for n in range(0, len(records), ROWS_AT_ONCE)]
        return cls(pa.Table.from_batches(batches, schema=REQUEST_SCHEMA))

    def batches(self, columns: Sequence[str] | None = None, rows: int = ROWS_AT_ONCE) -> Iterator[Any]:
        """Record batches of at most `rows`, of all columns or some."""
        table = self.table if columns is None else self.table.select(columns)
        yield from table.to_batches(max_chunksize=rows)

    def column(self, name: str, missing: int = -1) -> npt.NDArray[np.int64]:
        """A column of numbers, `missing` where there is none."""
        found: npt.NDArray[np.int64] = self.table.column(name).fill_null(missing).to_numpy()
        return found

    def times(self, name: str) -> npt.NDArray[np.int64]:
        """A column of numbers without its nulls."""
        found: npt.NDArray[np.int64] = self.table.column(name).drop_null().to_numpy()
        return found

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[RequestRecord]:
        for batch in self.table.to_batches(max_chunksize=256):
            for row in batch.to_pylist():
                yield RequestRecord(**row)

    @overload
    def __getitem__(self, at: int) -> RequestRecord: ...
    @overload
    def __getitem__(self, at: slice) -> list[RequestRecord]: ...
    def __getitem__(self, at: int | slice) -> RequestRecord | list[RequestRecord]:
        if isinstance(at, slice):
            return [self[n] for n in range(*at.indices(len(self)))]
        place = range(len(self))[at]  # negative ones count from the end, and IndexError is Python's own
        return RequestRecord(**self.table.slice(place, 1).to_pylist()[0])

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sequence)
            and len(other) == len(self)
            and all(a == b for a, b in zip(self, other, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]  # a table is compared, never looked up


def record_batch(records: Sequence[RequestRecord]) -> Any:
    """Records as columns of REQUEST_SCHEMA."""
    columns = [pa.array([getattr(r, field.name) for r in records], type=field.type) for field in REQUEST_SCHEMA]
    return pa.RecordBatch.from_arrays(columns, schema=REQUEST_SCHEMA)


def in_order(batches: list[Any]) -> pa.Table:
    """One table in the order of `index`, made of batches in the order in which requests ended; the list is used up.

    Only rows that are out of order are held twice: a row is passed on as soon as no later batch has a lower index.
    """
    lowest_later = np.full(len(batches) + 1, np.iinfo(np.int64).max)
    for n in range(len(batches) - 1, -1, -1):
        indices = batches[n].column("index").to_numpy()
        lowest_later[n] = min(lowest_later[n + 1], indices.min(initial=np.iinfo(np.int64).max))
    done: list[Any] = []
    held = pa.Table.from_batches([], schema=REQUEST_SCHEMA)
    batches.reverse()
    for limit in lowest_later[1:]:
        held = pa.concat_tables([held, pa.Table.from_batches([batches.pop()])]).combine_chunks()
        held = held.take(np.argsort(held.column("index").to_numpy(), kind="stable"))
        ready = int(np.searchsorted(held.column("index").to_numpy(), limit))
        done += held.slice(0, ready).to_batches()
        held = held.slice(ready)
    return pa.Table.from_batches(done, schema=REQUEST_SCHEMA)
