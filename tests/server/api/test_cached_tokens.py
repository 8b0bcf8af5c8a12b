"""The usage's share of the prompts that an engine's prefix cache held."""

from __future__ import annotations

import json

import pytest

from server.api.answer import Answer
from server.api.requests.sampling import CompletionRequest
from server.generation import Piece


class _Shape:
    kind = chunk_kind = "text_completion"


class _Job:
    def __init__(self, index, prompt):
        self.index, self.prompt = index, prompt
        self.options = type("Options", (), {"max_tokens": 1})()


def answer(prompts, n=1):
    request = CompletionRequest(model="m", prompt=[1], n=n)
    jobs = [_Job(i * n + k, [1] * length) for i, length in enumerate(prompts) for k in range(n)]
    return Answer(None, request, jobs, _Shape(), "id")


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
    made = answer(prompts, n)
    for index, cached in pieces:
        made._count(Piece(index, "a", 1, finish_reason="length", cached_tokens=cached))
    usage = made._usage()
    assert usage.get("prompt_tokens_details") == (None if said is None else {"cached_tokens": said})
    assert usage["prompt_tokens"] == sum(prompts)
    json.dumps(usage)
