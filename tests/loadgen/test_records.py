from __future__ import annotations

from dataclasses import fields

import pytest
from pydantic import ValidationError

from loadgen.records import REQUEST_SCHEMA, RequestRecord, Workload


def test_the_file_has_a_column_for_every_field_in_the_same_order():
    assert REQUEST_SCHEMA.names == [field.name for field in fields(RequestRecord)]


@pytest.mark.parametrize(
    ("kind", "needed"),
    [("batch", "batch_size"), ("concurrency", "concurrency"), ("constant", "rate"), ("poisson", "rate")],
)
def test_each_kind_of_load_says_what_it_needs(kind, needed):
    with pytest.raises(ValidationError, match=f"a {kind} workload needs {needed}"):
        Workload(name="w", kind=kind, requests=1)
    assert getattr(Workload(name="w", kind=kind, requests=1, **{needed: 3}), needed) == 3


@pytest.mark.parametrize("stops", [{}, {"requests": 1, "duration_s": 1.0}])
def test_a_load_stops_after_a_number_or_after_a_time_and_not_both(stops):
    with pytest.raises(ValidationError, match="exactly one of requests and duration_s"):
        Workload(name="w", kind="single", **stops)


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a b"])
def test_a_name_that_cannot_be_part_of_a_folders_name_is_refused(name):
    with pytest.raises(ValidationError, match="name"):
        Workload(name=name, kind="single", requests=1)


@pytest.mark.parametrize(
    "wrong", [{"requests": 0}, {"rate": 0.0}, {"output_tokens": 0}, {"warmup_requests": -1}, {"slo_ttft_ms": 0.0}]
)
def test_figures_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Workload(**{"name": "w", "kind": "constant", "rate": 1.0, "requests": 1, **wrong})
