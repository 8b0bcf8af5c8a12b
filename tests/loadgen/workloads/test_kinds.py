from __future__ import annotations

import pytest
from pydantic import ValidationError

from loadgen.workloads.base import Workload
from loadgen.workloads.open_loop import PoissonLoad


def offered(kind, **given):
    return Workload.model_validate({"name": "w", "kind": kind, **given})


@pytest.mark.parametrize(
    ("kind", "needed"),
    [("batch", "batch_size"), ("concurrency", "concurrency"), ("constant", "rate"), ("poisson", "rate")],
)
def test_each_kind_of_load_says_what_it_needs(kind, needed):
    with pytest.raises(ValidationError, match=f"a {kind} workload needs `{needed}`"):
        offered(kind, requests=1)
    assert getattr(offered(kind, requests=1, **{needed: 3}), needed) == 3


@pytest.mark.parametrize("stops", [{}, {"requests": 1, "duration_s": 1.0}])
def test_a_load_stops_after_a_number_or_after_a_time_and_not_both(stops):
    with pytest.raises(ValidationError, match="exactly one of `requests` and `duration_s`"):
        offered("single", **stops)


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a b"])
def test_a_name_that_cannot_be_part_of_a_folders_name_is_refused(name):
    with pytest.raises(ValidationError, match="name"):
        offered("single", name=name, requests=1)


@pytest.mark.parametrize(
    "wrong", [{"requests": 0}, {"rate": 0.0}, {"output_tokens": 0}, {"warmup_requests": -1}, {"slo_ttft_ms": 0.0}]
)
def test_figures_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        offered("constant", **{"rate": 1.0, "requests": 1, **wrong})


@pytest.mark.parametrize(
    ("kind", "given", "reason"),
    [
        ("single", {"rate": 2.0}, "`rate` does not apply to a single workload"),
        ("poisson", {"rate": 2.0, "burstiness": 0.5}, "`burstiness` does not apply"),
        ("concurrency", {"concurrency": 2, "batch_as": "list"}, "`batch_as` does not apply"),
        ("burst", {"rate": 2.0}, "needs `burstiness`"),
        ("trace", {}, "needs `trace`"),
        ("trace", {"trace": "t.csv", "duration_s": 1.0}, "not by both"),
        ("trace", {"trace": "t.csv", "prompts": "p.txt"}, "with `trace`"),
        ("sweep", {}, "needs `rate`, the lowest to try, or `rates`"),
        ("sweep", {"rate": 2.0, "rates": [1.0]}, "needs `rate`, the lowest to try, or `rates`"),
        ("sweep", {"rate": 2.0, "end_rate": 1.0}, "cannot be below"),
        ("batch", {"batch_size": 2, "batch_as": "list", "output_tokens": "uniform:1-2"}, "plain number"),
        ("single", {"prompts": "mmlu", "prompt_as": "text"}, "cannot be combined"),
        ("single", {"prompt_tokens": 8, "shared_prefix": 8}, "`shared_prefix` must be below"),
        ("single", {"prompt_tokens": "lots"}, "must be a number"),
    ],
)
def test_a_field_that_does_not_fit_the_kind_is_named(kind, given, reason):
    with pytest.raises(ValidationError, match=reason):
        offered(kind, requests=1, **given)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"rate": 1.0}, "needs `rate` and `end_rate`, or"),
        ({"rate": 1.0, "end_rate": 2.0, "concurrency": 1}, "needs `rate` and `end_rate`, or"),
        ({}, "needs `rate` and `end_rate`, or"),
    ],
)
def test_a_ramp_is_of_rates_or_of_users(given, reason):
    with pytest.raises(ValidationError, match=reason):
        offered("ramp", duration_s=3.0, **given)


# What a trial recorded when all kinds were one record: every key, null or default where it does not apply.
RECORDED = {
    "name": "steady", "kind": "poisson", "requests": 40, "duration_s": None, "batch_size": None, "batch_as": "requests",
    "concurrency": None, "end_concurrency": None, "rate": 2.5, "end_rate": None, "rates": None, "ramp_steps": None,
    "burstiness": None, "trace": None, "speed": 1.0, "sweep": "curve", "prompt_tokens": 64, "output_tokens": 32,
    "prompts": None, "file_sha256": None, "prompt_as": "ids", "shared_prefix": 0, "natural_stop": False,
    "warmup_requests": 2, "slo_ttft_ms": None, "slo_tpot_ms": None, "slo_share": 0.9,
}  # fmt: skip


def test_a_record_with_the_keys_of_all_kinds_is_read_as_its_own_kind():
    found = Workload.model_validate(RECORDED)
    assert found == PoissonLoad(name="steady", rate=2.5, requests=40, output_tokens=32, sweep="curve")
    assert Workload.model_validate(found.model_dump(mode="json")) == found


@pytest.mark.parametrize(("key", "value"), [("batch_size", 4), ("speed", 2.0), ("batch_as", "list")])
def test_a_key_of_another_kind_that_has_a_value_is_refused(key, value):
    with pytest.raises(ValidationError, match=f"`{key}` does not apply to a poisson workload"):
        Workload.model_validate(RECORDED | {key: value})


def test_a_kind_that_is_not_registered_is_refused_with_those_that_are():
    with pytest.raises(ValidationError, match=r"'single', 'batch'.* or 'sessions'"):
        offered("storm", requests=1)
    with pytest.raises(ValidationError, match="kind"):
        Workload.model_validate({"name": "w", "requests": 1})


def test_no_kind_has_the_fields_of_another():
    shared = set(Workload.model_fields)
    own = {name: set(kind.model_fields) - shared for name, kind in Workload.kinds.items()}
    assert own["single"] == set()
    assert own["batch"] == {"batch_size", "batch_as"}
    assert own["trace"] == {"trace", "speed", "block_tokens"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prompt_tokens": 9}, "; 9 prompt tokens, exactly"),
        ({"prompts": "chats.jsonl"}, "; prompts of chats.jsonl, exactly"),
        ({"prompt_tokens": 9, "shared_prefix": 5}, "; 9 prompt tokens of which 5 are shared, exactly"),
        (
            {"prompt_tokens": 9, "shared_prefix": 5, "prefix_groups": 3},
            "; 9 prompt tokens of which 5 are shared within 3 groups, exactly",
        ),
    ],
)
def test_a_workload_says_in_words_what_its_prompts_are(given, said):
    assert said in offered("single", requests=1, **given).describe()
