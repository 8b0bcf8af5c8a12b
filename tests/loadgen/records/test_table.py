from __future__ import annotations

import random

import pytest

from loadgen.records.batch import Batch
from loadgen.records.table import Records, in_order
from tests.loadgen.made import failed, record

RECORDS = [record(n, n, n + 5, n + 9, tokens=n % 4 + 1) for n in range(20)] + [failed(20, 1, 2)]


def test_a_table_reads_as_the_list_it_was_made_of():
    table = Records.of(RECORDS)
    assert Records.of(table) is table
    assert (len(table), table[3], table[-1], table[4:6]) == (21, RECORDS[3], RECORDS[-1], RECORDS[4:6])
    assert list(table) == RECORDS
    assert table == RECORDS
    assert table != RECORDS[:-1]
    with pytest.raises(IndexError):
        table[21]


def test_columns_say_what_is_missing_or_leave_it_out():
    table = Records.of(RECORDS)
    assert table.column("first_token_ns")[-1] == -1
    assert len(table.times("first_token_ns")) == 20


@pytest.mark.parametrize("size", [1, 4, 50])
def test_batches_in_any_order_become_one_table_in_the_order_of_the_requests(size):
    shuffled = random.Random(size).sample(RECORDS, len(RECORDS))
    batches = [Batch.of(shuffled[n : n + size]) for n in range(0, len(shuffled), size)]
    assert in_order(batches) == RECORDS
    assert batches == []


def test_no_batches_are_an_empty_table():
    assert list(in_order([])) == []
    assert list(Records.of([])) == []
