"""What kind of workload options mean that name none."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from loadgen.endpoint import LoadError
from prunebench.load.workload_options import describe_workload, implied_kind

KINDS: dict[str, Mapping[str, object]] = {
    "single": {"requests": 3, "concurrency": None},
    "concurrency": {"concurrency": 8, "duration_s": 30.0},
    "batch": {"batch_size": 8},
    "poisson": {"rate": 5.0},
    "burst": {"rate": 5.0, "burstiness": 0.5},
    "on-off": {"rate": 5.0, "on_s": 1.0, "off_s": 2.0},
    "mix": {"rate": 5.0, "parts": ["parts.json"]},
    "trace": {"trace": "trace.jsonl"},
}
LOOPS = (
    '[{"name": "a", "kind": "concurrency", "concurrency": 1}, {"name": "b", "kind": "concurrency", "concurrency": 2}]'
)


@pytest.mark.parametrize(("kind", "options"), KINDS.items(), ids=KINDS)
def test_it_is_that_whose_own_the_options_are(kind: str, options: Mapping[str, object]) -> None:
    assert implied_kind(options) == kind


def test_parts_with_arrivals_of_their_own_mean_a_mix_that_ends_by_time() -> None:
    load = describe_workload(None, {"parts": LOOPS}, None)
    assert (load.kind, load.requests, load.duration_s, load.answer_length(0, 0)) == ("mix", None, 30.0, 128)
    assert describe_workload(None, {"parts": LOOPS, "duration_s": 5.0}, None).duration_s == 5.0


@pytest.mark.parametrize(
    ("key", "said"), [("slo_tftt_ms", "did you mean slo_ttft_ms?"), ("zzz", "known are slo_ttft_ms, ")]
)
def test_a_key_that_no_part_has_is_named_with_its_place_and_the_nearest(key: str, said: str) -> None:
    with pytest.raises(LoadError, match=rf"^--parts \[1\]\.{key}: unknown key; {re.escape(said)}"):
        describe_workload(None, {"parts": LOOPS.replace("2}", f'2, "{key}": 3}}')}, None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"concurrency": 4, "batch_size": 2},
            "--batch-size and --concurrency: belong to different kinds of workload; leave one out",
        ),
        (
            {"concurrency": 4, "rate": 2.0},
            "--concurrency and --rate: belong to different kinds of workload; leave one out",
        ),
        ({"concurrency": 4, "turns": 3}, "--concurrency and --turns: name the kind of workload, --workload sessions"),
        ({"turns": 3}, "--turns: name the kind of workload, --workload sessions"),
        (
            {"parts": LOOPS, "requests": 5},
            "--workload mix: a mix whose parts have arrivals of their own ends by --duration, not by --requests",
        ),
        ({"rate": 1.0, "end_rate": 2.0}, "--rate and --end-rate: name the kind of workload, --workload ramp or sweep"),
    ],
)
def test_options_of_different_kinds_are_named_without_a_kind_that_was_not_typed(
    options: Mapping[str, object], said: str
) -> None:
    with pytest.raises(LoadError) as raised:
        describe_workload(None, options, None)
    assert str(raised.value) == said
