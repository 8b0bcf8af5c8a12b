"""requests.parquet, written and read by DuckDB, less than half the size of pyarrow; any other reader of Parquet reads it too."""

from __future__ import annotations

import functools
import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nanoarrow as na
import numpy as np
import numpy.typing as npt
from nanoarrow.c_array_stream import CArrayStream

from loadgen.records.arrow import from_arrow, to_arrow
from loadgen.records.batch import Batch
from loadgen.records.schema import COLUMN_TYPES
from loadgen.records.table import ROWS_AT_ONCE

if TYPE_CHECKING:
    import duckdb

# One thread, since others are measured beside it, no file but the one that is named, and nothing of it kept once it is read.
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "temp_directory": "",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "enable_external_file_cache": False,
}
_ROWS = "FROM read_parquet($file, hive_partitioning = false, file_row_number = true)"


def write_parquet(batches: Iterable[Batch], file: Path, figures: Mapping[str, npt.NDArray[np.float64]] = {}) -> None:
    """Write batches of all columns, and figures made of them for other readers: [rows], NaN becomes null.

    Raises OSError if the file cannot be written.
    """
    start, arrays = 0, []
    for batch in batches:
        rows = slice(start, start + len(batch))
        arrays.append(to_arrow(batch, {name: values[rows] for name, values in figures.items()}))
        start = rows.stop
    empty = to_arrow(Batch.of([]), {name: values[:0] for name, values in figures.items()})
    stream = CArrayStream.from_c_arrays(arrays, empty.schema)
    write_arrow(na.ArrayStream(stream), file)


def write_arrow(rows: Any, file: Path) -> None:
    """Write what offers an Arrow stream of struct arrays. Raises OSError if the file cannot be written."""
    import duckdb

    try:
        with _database(os.getpid()).cursor() as database:
            found = database.from_arrow(rows)
            found.write_parquet(str(file), compression="zstd", row_group_size=ROWS_AT_ONCE)
    except duckdb.Error as error:
        raise OSError(_first_line(error)) from None


def read_parquet(file: Path, columns: Sequence[str] | None = None) -> Iterator[Batch]:
    """Batches of at most ROWS_AT_ONCE rows, of all columns or some. Raises OSError if the file cannot be read."""
    import duckdb

    wanted = list(columns or COLUMN_TYPES)
    try:
        file.open("rb").close()
        with _database(os.getpid()).cursor() as database:
            named: dict[str, Any] = {"file": glob.escape(str(file))}
            all_columns = f"SELECT * {_ROWS} WHERE file_row_number >= $start AND file_row_number < $end"
            start, count = 0, ROWS_AT_ONCE
            while count == ROWS_AT_ONCE:  # else these were the last
                found = database.sql(all_columns, params=named | {"start": start, "end": start + ROWS_AT_ONCE})
                there = set(found.columns)
                start, count = start + ROWS_AT_ONCE, 0
                for array in na.c_array_stream(found.project(", ".join(f'"{n}"' for n in wanted if n in there))):
                    batch = from_arrow(array).with_missing(wanted)
                    count += len(batch)
                    yield batch
    except (duckdb.Error, RuntimeError) as error:
        raise OSError(_first_line(error)) from None


def read_rows(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of any Parquet file, as plain values, lists and dicts. Raises OSError if it cannot be read."""
    import duckdb

    try:
        file.open("rb").close()
        with _database(os.getpid()).cursor() as database:
            rows = database.execute(f"SELECT * EXCLUDE (file_row_number) {_ROWS}", {"file": glob.escape(str(file))})
            names = [column[0] for column in rows.description]
            while some := rows.fetchmany(ROWS_AT_ONCE):
                yield from (dict(zip(names, row, strict=True)) for row in some)
    except (duckdb.Error, RuntimeError) as error:
        raise OSError(_first_line(error)) from None


@functools.cache
def _database(_process_id: int) -> duckdb.DuckDBPyConnection:
    """The one of this process, in memory: starting one takes longer than reading a small file."""
    import duckdb

    return duckdb.connect(config=_SETTINGS)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
