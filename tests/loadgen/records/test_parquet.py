"""requests.parquet against pyarrow, which wrote it before and shares no code with what does now."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loadgen.records.parquet import read_parquet, write_parquet
from loadgen.records.schema import COLUMN_TYPES
from loadgen.records.table import ROWS_AT_ONCE, Records
from tests.loadgen.made import failed, record

RECORDS = [record(n, n, n + 5, n + 9, tokens=n % 4 + 1) for n in range(20)] + [
    failed(20, 1, 2),
    replace(failed(21, 1, 2), error="a quote', a line\nbreak, 漢字 and \U0001f600", arrival_ns=[], arrival_tokens=[]),
]
TYPES = {"string": pa.string(), "int64": pa.int64(), "int32": pa.int32()}
TYPES |= {f"list {kind}": pa.list_(TYPES[kind]) for kind in ("int64", "int32")}
SCHEMA = pa.schema([(name, TYPES[kind]) for name, kind in COLUMN_TYPES.items()])


def rows(records):
    return [{name: getattr(one, name) for name in COLUMN_TYPES} for one in records]


def read(file, columns=None):
    return [row for batch in read_parquet(file, columns) for row in batch.rows()]


def test_pyarrow_reads_what_is_written_with_the_types_of_the_columns(tmp_path):
    write_parquet(Records.of(RECORDS).batches(rows=7), tmp_path / "r.parquet")
    assert pq.read_table(tmp_path / "r.parquet").to_pylist() == rows(RECORDS)
    assert pq.read_schema(tmp_path / "r.parquet").equals(SCHEMA)
    assert pq.read_metadata(tmp_path / "r.parquet").row_group(0).column(0).compression == "ZSTD"


def test_what_pyarrow_wrote_before_is_read(tmp_path):
    with pq.ParquetWriter(tmp_path / "r.parquet", SCHEMA, compression="zstd", write_page_checksum=True) as file:
        for part in (RECORDS[:9], RECORDS[9:]):
            file.write_table(pa.Table.from_pylist(rows(part), schema=SCHEMA))
    assert read(tmp_path / "r.parquet") == rows(RECORDS)
    assert read(tmp_path / "r.parquet", ["end_ns", "error"]) == [
        {"end_ns": r.end_ns, "error": r.error} for r in RECORDS
    ]


def test_columns_that_an_older_file_lacks_have_no_values(tmp_path):
    old = [{name: value for name, value in row.items() if name != "error"} for row in rows(RECORDS)]
    older = pa.schema([field for field in SCHEMA if field.name != "error"])
    pq.write_table(pa.Table.from_pylist(old, schema=older), tmp_path / "r.parquet")
    assert read(tmp_path / "r.parquet") == [row | {"error": None} for row in rows(RECORDS)]
    assert read(tmp_path / "r.parquet", ["error", "index"])[1] == {"error": None, "index": 1}


@pytest.mark.parametrize("name", ["a=1", "a*b", "a[0-9]", "a?b", "it's", "漢 字"])
def test_a_path_is_a_name_and_never_a_pattern(tmp_path, name):
    (tmp_path / name).mkdir()
    write_parquet(Records.of(RECORDS).batches(), tmp_path / name / "r.parquet")
    assert read(tmp_path / name / "r.parquet") == rows(RECORDS)


def test_many_rows_come_in_batches(tmp_path):
    many = Records.of([replace(RECORDS[3], index=n) for n in range(2 * ROWS_AT_ONCE + 5)])
    write_parquet(many.batches(), tmp_path / "r.parquet")
    batches = list(read_parquet(tmp_path / "r.parquet", ["index"]))
    assert list(map(len, batches)) == [ROWS_AT_ONCE, ROWS_AT_ONCE, 5]
    assert Records(batches).column("index").tolist() == list(range(2 * ROWS_AT_ONCE + 5))


def test_no_records_are_a_file_without_rows(tmp_path):
    write_parquet([], tmp_path / "r.parquet")
    assert pq.read_table(tmp_path / "r.parquet").num_rows == 0
    assert read(tmp_path / "r.parquet") == []


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 nonsense nonsense PAR1"])
def test_what_is_no_parquet_is_an_error_of_one_line(tmp_path, content):
    (tmp_path / "r.parquet").write_bytes(content)
    with pytest.raises(OSError, match=r"^[^\n]+$"):
        read(tmp_path / "r.parquet")
    with pytest.raises(OSError, match="No such file"):
        read(tmp_path / "none")
    with pytest.raises(OSError, match=r"^[^\n]+$"):
        write_parquet([], tmp_path / "no" / "folder")
