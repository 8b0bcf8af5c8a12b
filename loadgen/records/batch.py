"""Request records as columns of numpy arrays, some thousands of rows at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from loadgen.records.schema import COLUMN_TYPES, RequestRecord

Integers = npt.NDArray[np.integer[Any]]
Words = npt.NDArray[np.object_]  # None where there is none


class Numbers(NamedTuple):
    """A number a row: [rows], any where it is not `valid`."""

    values: Integers
    valid: npt.NDArray[np.bool_]


class Lists(NamedTuple):
    """A list of numbers a row: [all of them], one row's after another's, cut by `lengths` [rows]."""

    values: Integers
    lengths: npt.NDArray[np.int64]


Column = Numbers | Words | Lists


@dataclass(frozen=True)
class Batch:
    """Columns of equal length, by the names of RequestRecord's fields; all of them or some."""

    columns: Mapping[str, Column]

    @classmethod
    def of(cls, records: Sequence[RequestRecord]) -> Batch:
        """The same records as columns."""
        return cls({n: _column(list(map(attrgetter(n), records)), kind) for n, kind in COLUMN_TYPES.items()})

    @classmethod
    def joined(cls, batches: Sequence[Batch]) -> Batch:
        """The rows of all, in their order; the batches have the same columns."""
        return (
            batches[0]
            if len(batches) == 1
            else cls({n: _joined([b.columns[n] for b in batches]) for n in batches[0].columns})
        )

    def __len__(self) -> int:
        return _length(next(iter(self.columns.values())))

    def take(self, rows: Integers) -> Batch:
        """These rows, in this order."""
        return Batch({name: _taken(column, rows) for name, column in self.columns.items()})

    def cut(self, start: int, stop: int) -> Batch:
        """The rows from `start` up to `stop`."""
        return self if (start, stop) == (0, len(self)) else self.take(np.arange(len(self))[start:stop])

    def select(self, names: Sequence[str]) -> Batch:
        """Some of the columns."""
        return Batch({name: self.columns[name] for name in names})

    def with_missing(self, names: Iterable[str]) -> Batch:
        """The same with columns of these names that are not there, as in files of before: without values."""
        return Batch(
            {name: self.columns[name] if name in self.columns else _missing(name, len(self)) for name in names}
        )

    def valid(self, name: str) -> npt.NDArray[np.bool_]:
        """Which rows have a number or a word."""
        column = self.columns[name]
        if isinstance(column, Numbers):
            return column.valid
        return np.array([word is not None for word in self.words(name)], dtype=bool)

    def numbers(self, name: str, missing: int = -1) -> npt.NDArray[np.int64]:
        """[rows], `missing` where there is none."""
        column = self.columns[name]
        if not isinstance(column, Numbers):
            raise TypeError(f"{name} has no numbers")
        return np.where(column.valid, column.values, missing).astype(np.int64, copy=False)

    def floats(self, name: str) -> npt.NDArray[np.float64]:
        """[rows], NaN where there is none."""
        return np.where(self.valid(name), self.numbers(name), np.nan)

    def words(self, name: str) -> Words:
        """[rows], None where there is none."""
        column = self.columns[name]
        if not isinstance(column, np.ndarray):
            raise TypeError(f"{name} has no words")
        return column

    def lists(self, name: str) -> Lists:
        """The lists of all rows."""
        column = self.columns[name]
        if not isinstance(column, Lists):
            raise TypeError(f"{name} has no lists")
        return column

    def rows(self) -> Iterator[dict[str, Any]]:
        """A dictionary a row, None where there is nothing."""
        columns = [_python(column) for column in self.columns.values()]
        for row in zip(*columns, strict=True):
            yield dict(zip(self.columns, row, strict=True))


def _column(values: list[Any], kind: str) -> Column:
    if kind == "string":
        return _words(values)
    dtype = kind.removeprefix("list ")
    if kind != dtype:
        lengths = np.fromiter(map(len, values), np.int64, len(values))
        return Lists(np.fromiter(itertools.chain.from_iterable(values), dtype, int(lengths.sum())), lengths)
    missing = values.count(None)
    if missing == len(values):
        return Numbers(np.zeros(missing, dtype), np.zeros(missing, dtype=bool))
    if not missing:
        return Numbers(np.array(values, dtype), np.ones(len(values), dtype=bool))
    valid = np.fromiter((value is not None for value in values), bool, len(values))
    return Numbers(np.fromiter((value or 0 for value in values), dtype, len(values)), valid)


def _missing(name: str, rows: int) -> Column:
    kind = COLUMN_TYPES[name]
    return _column([[] if kind.startswith("list ") else None] * rows, kind)


def _words(values: Sequence[str | None]) -> Words:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _length(column: Column) -> int:
    return len(column.lengths if isinstance(column, Lists) else column.valid if isinstance(column, Numbers) else column)


def _joined(columns: Sequence[Any]) -> Column:
    first = columns[0]
    joined: Column = (
        np.concatenate(columns)
        if isinstance(first, np.ndarray)
        else type(first)(*map(np.concatenate, zip(*columns, strict=True)))
    )
    return joined


def _taken(column: Column, rows: Integers) -> Column:
    if isinstance(column, np.ndarray):
        return column[rows]
    if isinstance(column, Numbers):
        return Numbers(column.values[rows], column.valid[rows])
    lengths = column.lengths[rows]
    before = (np.cumsum(column.lengths) - column.lengths)[rows] - (np.cumsum(lengths) - lengths)
    return Lists(column.values[np.repeat(before, lengths) + np.arange(lengths.sum())], lengths)


def _python(column: Column) -> list[Any]:
    if isinstance(column, np.ndarray):
        return list(column)
    values = column.values.tolist()
    if isinstance(column, Numbers):
        return [value if known else None for value, known in zip(values, column.valid.tolist(), strict=True)]
    ends = np.cumsum(column.lengths).tolist()
    return [values[end - length : end] for end, length in zip(ends, column.lengths.tolist(), strict=True)]
