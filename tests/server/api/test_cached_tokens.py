"""The usage's share of the prompts that an engine's prefix cache held."""

from __future__ import annotations

import json

import pytest

from server.api.usage import Usage
from server.engines.base import SamplingOptions
from server.generation import Job, Piece


def usage_of(prompts, n):
    options = SamplingOptions(max_tokens=1)
    jobs = [Job(f"{i}-{k}", i * n + k, [1] * length, options) for i, length in enumerate(prompts) for k in range(n)]
    return Usage(jobs, n)


@pytest.mark.parametrize(
    ("prompts", "n", "pieces", "said"),
    [
        ([10], 1, [(0, 8)], 8),
        ([10, 20], 1, [(0, 8), (1, 16)], 24),
        ([10], 3, [(0, 8), (1, 8), (2, 8)], 8),  # a prompt with several choices counts once
        ([10], 1, [(0, 0)], 0),
        ([10], 1, [(0, None)], None),
    ],
)
def test_a_prompt_counts_once_and_what_the_engine_does_not_say_is_left_out(prompts, n, pieces, said):
    made = usage_of(prompts, n)
    for index, cached in pieces:
        made.count(Piece(index, "a", 1, finish_reason="length", cached_tokens=cached))
    usage = made.record()
    assert usage.get("prompt_tokens_details") == (None if said is None else {"cached_tokens": said})
    assert usage["prompt_tokens"] == sum(prompts)
    json.dumps(usage)
