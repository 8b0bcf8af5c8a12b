"""What kind of workload options mean that name none."""

from __future__ import annotations

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


@pytest.mark.parametrize(("kind", "options"), KINDS.items(), ids=KINDS)
def test_it_is_that_whose_own_the_options_are(kind: str, options: Mapping[str, object]) -> None:
    assert implied_kind(options) == kind


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
        ({"rate": 1.0, "end_rate": 2.0}, "--rate and --end-rate: name the kind of workload, --workload ramp or sweep"),
    ],
)
def test_options_of_different_kinds_are_named_without_a_kind_that_was_not_typed(
    options: Mapping[str, object], said: str
) -> None:
    with pytest.raises(LoadError) as raised:
        describe_workload(None, options, None)
    assert str(raised.value) == said
