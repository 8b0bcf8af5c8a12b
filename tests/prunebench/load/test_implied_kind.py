"""What kind of workload options mean that name none."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from prunebench.load.workload_options import implied_kind

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
