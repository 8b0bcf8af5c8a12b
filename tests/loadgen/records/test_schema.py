from __future__ import annotations

from dataclasses import fields

from loadgen.records.schema import COLUMN_TYPES, RequestRecord


def test_the_file_has_a_column_for_every_field_in_the_same_order():
    assert list(COLUMN_TYPES) == [field.name for field in fields(RequestRecord)]
