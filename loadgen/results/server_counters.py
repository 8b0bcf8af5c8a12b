"""What the server itself counts: read from its /metrics before and after a load."""

from __future__ import annotations

import contextlib
import math

import httpx
from prometheus_client.parser import text_string_to_metric_families

from loadgen import UNREADABLE
from loadgen.endpoint import Endpoint

GENERATED, PREFIX_HITS = "vllm:generation_tokens", "vllm:prefix_cache_hits"
PREEMPTIONS = "vllm:num_preemptions"
DRAFTED, ACCEPTED = "vllm:spec_decode_num_draft_tokens", "vllm:spec_decode_num_accepted_tokens"
_COUNTERS = frozenset({GENERATED, PREFIX_HITS, PREEMPTIONS, DRAFTED, ACCEPTED})


def server_counters(endpoint: Endpoint) -> dict[str, float]:
    """The server's own counters that it offers, by name."""
    counters: dict[str, float] = {}
    with contextlib.suppress(httpx.HTTPError, *UNREADABLE), endpoint.client() as client:
        answer = client.get("/metrics")
        if answer.status_code == httpx.codes.OK:
            for family in text_string_to_metric_families(answer.text):
                if family.name in _COUNTERS:
                    counters[family.name] = sum(s.value for s in family.samples if s.name.endswith("_total"))
    return counters


def change(before: dict[str, float], after: dict[str, float], name: str) -> int | None:
    """Growth of a counter; None if the server does not offer it, or was restarted in between."""
    growth = after.get(name, math.nan) - before.get(name, math.nan)
    return round(growth) if growth >= 0 and math.isfinite(growth) else None
