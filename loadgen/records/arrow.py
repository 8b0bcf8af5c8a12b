"""Batches of records as Arrow arrays, and as an Arrow stream on disk or in a message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import nanoarrow as na
import numpy as np
import numpy.typing as npt
from nanoarrow.ipc import InputStream, StreamWriter

from loadgen.records.batch import Batch, Column, Lists, Numbers, Words
from loadgen.records.schema import COLUMN_TYPES

_TYPES = {"string": na.string(), "int64": na.int64(), "int32": na.int32()}


def arrow_type(kind: str) -> Any:
    """The Arrow type of a kind of column."""
    return na.list_(arrow_type(kind.removeprefix("list "))) if kind.startswith("list ") else _TYPES[kind]


def to_arrow(batch: Batch, figures: Mapping[str, npt.NDArray[np.float64]] = {}) -> Any:
    """An Arrow struct array with a field a column, and one a figure: [rows], NaN becomes null."""
    types = {name: arrow_type(COLUMN_TYPES[name]) for name in batch.columns}
    schema = na.struct(types | dict.fromkeys(figures, na.float64()))
    children = [_to_arrow(column, COLUMN_TYPES[name]) for name, column in batch.columns.items()]
    children += map(_figures_to_arrow, figures.values())
    return na.c_array_from_buffers(schema, len(batch), [None], null_count=0, children=children)


def from_arrow(array: Any) -> Batch:
    """The batch of a struct array; fields that we do not know are left out."""
    view = array.view()
    names = [child.name for child in array.schema.children]
    found = {name: view.child(n) for n, name in enumerate(names) if name in COLUMN_TYPES}
    return Batch({name: _from_arrow(column, COLUMN_TYPES[name]) for name, column in found.items()})


class ArrowStream:
    """Write batches to an open file as one Arrow stream, each as a whole."""

    def __init__(self, file: Any) -> None:
        self._writer = StreamWriter.from_writable(file)

    def write(self, batch: Batch) -> None:
        """Append a batch."""
        self._writer.write_array(to_arrow(batch))

    def close(self) -> None:
        """End the stream; the file stays open."""
        self._writer.close()


def read_batches(file: Any) -> Iterator[Batch]:
    """The batches of an open file's stream, up to its end or to where it was broken off."""
    try:
        with InputStream.from_readable(file) as source:
            for array in na.c_array_stream(source):
                yield from_arrow(array).with_missing(COLUMN_TYPES)
    except (RuntimeError, OSError):  # nanoarrow's own is a RuntimeError
        return


def _to_arrow(column: Column, kind: str) -> Any:
    if isinstance(column, Numbers):
        buffers = [_bits(column.valid), column.values.astype(kind, copy=False)]
        return na.c_array_from_buffers(_TYPES[kind], len(column.valid), buffers, null_count=_missing(column.valid))
    if isinstance(column, Lists):
        child = Numbers(column.values, np.ones(len(column.values), bool))
        children = [_to_arrow(child, kind.removeprefix("list "))]
        buffers = [None, _offsets(column.lengths)]
        return na.c_array_from_buffers(arrow_type(kind), len(column.lengths), buffers, null_count=0, children=children)
    texts = [b"" if word is None else word.encode("utf-8", "replace") for word in column]
    valid = np.array([word is not None for word in column], bool)
    buffers = [_bits(valid), _offsets([len(text) for text in texts]), b"".join(texts)]
    return na.c_array_from_buffers(_TYPES[kind], len(column), buffers, null_count=_missing(valid))


def _figures_to_arrow(values: npt.NDArray[np.float64]) -> Any:
    valid = ~np.isnan(values)
    buffers = [_bits(valid), np.where(valid, values, 0.0)]
    return na.c_array_from_buffers(na.float64(), len(values), buffers, null_count=_missing(valid))


def _from_arrow(view: Any, kind: str) -> Column:
    rows = slice(view.offset, view.offset + view.length)
    valid = _unpacked(view.buffer(0), view.offset, view.length)
    if kind not in {"string", *_LISTS}:
        return Numbers(np.array(np.asarray(view.buffer(1))[rows], dtype=kind), valid)
    offsets = np.asarray(view.buffer(1))[view.offset : view.offset + view.length + 1].astype(np.int64)
    first, last = (int(offsets[0]), int(offsets[-1])) if len(offsets) else (0, 0)
    if kind in _LISTS:
        child = view.child(0)
        values = np.asarray(child.buffer(1))[child.offset + first : child.offset + last]
        return Lists(np.array(values, dtype=kind.removeprefix("list ")), np.diff(offsets))
    text = bytes(view.buffer(2))
    return _words(text, offsets, valid)


def _words(text: bytes, offsets: Any, valid: Any) -> Words:
    column = np.empty(len(valid), dtype=object)
    ends = zip(offsets[:-1].tolist(), offsets[1:].tolist(), valid.tolist(), strict=True)
    column[:] = [str(text[start:end], "utf-8") if known else None for start, end, known in ends]
    return column


_LISTS = frozenset(kind for kind in COLUMN_TYPES.values() if kind.startswith("list "))


def _bits(valid: Any) -> Any:
    return None if valid.all() else np.packbits(valid, bitorder="little")


def _unpacked(bits: Any, offset: int, length: int) -> Any:
    if not bytes(bits):
        return np.ones(length, bool)
    return np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")[offset : offset + length].astype(bool)


def _missing(valid: Any) -> int:
    return int((~valid).sum())


def _offsets(lengths: Any) -> Any:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
