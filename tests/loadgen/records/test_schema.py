from __future__ import annotations

from dataclasses import fields

import pytest
from pydantic import ValidationError

from loadgen.records.schema import REQUEST_SCHEMA, RequestRecord, Workload


def test_the_file_has_a_column_for_every_field_in_the_same_order():
    assert REQUEST_SCHEMA.names == [field.name for field in fields(RequestRecord)]


@pytest.mark.parametrize(
    ("kind", "needed"),
    [("batch", "batch_size"), ("concurrency", "concurrency"), ("constant", "rate"), ("poisson", "rate")],
)
def test_each_kind_of_load_says_what_it_needs(kind, needed):
    with pytest.raises(ValidationError, match=f"a {kind} workload needs `{needed}`"):
        Workload(name="w", kind=kind, requests=1)
    assert getattr(Workload(name="w", kind=kind, requests=1, **{needed: 3}), needed) == 3


@pytest.mark.parametrize("stops", [{}, {"requests": 1, "duration_s": 1.0}])
def test_a_load_stops_after_a_number_or_after_a_time_and_not_both(stops):
    with pytest.raises(ValidationError, match="exactly one of `requests` and `duration_s`"):
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


@pytest.mark.parametrize(
    ("kind", "given", "reason"),
    [
        ("single", {"rate": 2.0}, "`rate` means nothing to a single workload"),
        ("poisson", {"rate": 2.0, "burstiness": 0.5}, "`burstiness` means nothing"),
        ("concurrency", {"concurrency": 2, "batch_as": "list"}, "`batch_as` means nothing"),
        ("burst", {"rate": 2.0}, "needs `burstiness`"),
        ("trace", {}, "needs `trace`"),
        ("trace", {"trace": "t.csv", "duration_s": 1.0}, "not by both"),
        ("trace", {"trace": "t.csv", "prompts": "p.txt"}, "without `trace`"),
        ("sweep", {}, "needs `rate`, the lowest to try, or `rates`"),
        ("sweep", {"rate": 2.0, "rates": [1.0]}, "needs `rate`, the lowest to try, or `rates`"),
        ("sweep", {"rate": 2.0, "end_rate": 1.0}, "cannot be below"),
        ("batch", {"batch_size": 2, "batch_as": "list", "output_tokens": "uniform:1-2"}, "plain number"),
        ("single", {"prompts": "mmlu", "prompt_as": "text"}, "go without"),
        ("single", {"prompt_tokens": 8, "shared_prefix": 8}, "`shared_prefix` must be below"),
        ("single", {"prompt_tokens": "lots"}, "must be a number"),
    ],
)
def test_a_field_that_does_not_fit_the_kind_is_named(kind, given, reason):
    with pytest.raises(ValidationError, match=reason):
        Workload(name="w", kind=kind, requests=1, **given)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"rate": 1.0}, "needs `rate` and `end_rate`, or"),
        ({"rate": 1.0, "end_rate": 2.0, "concurrency": 1}, "needs `rate` and `end_rate`, or"),
        ({"concurrency": 3, "end_concurrency": 2}, "cannot be below"),
        ({}, "needs `rate` and `end_rate`, or"),
    ],
)
def test_a_ramp_is_of_rates_or_of_users(given, reason):
    with pytest.raises(ValidationError, match=reason):
        Workload(name="w", kind="ramp", duration_s=3.0, **given)
