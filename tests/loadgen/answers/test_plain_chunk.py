"""The quick way of reading nearly all chunks: it reads what the slow way reads, and leaves to that what is more."""

from __future__ import annotations

import json
import random

import pytest

from loadgen.answers.plain_chunk import Usage, plain_chunk
from loadgen.answers.sse import Answer
from tests.loadgen.answers.made_answers import body, pieces
from tests.support.long import short_or_long


def chunk(**fields):
    return json.dumps({"choices": [{"text": "a", "finish_reason": None}], **fields}).encode()


def read(reads):
    answer = Answer(keep_text=True, keep_message=True)
    for at_ns, data in enumerate(reads, 1):
        answer.feed(at_ns, data)
    answer.settle(lambda text: len(text.encode().split()))
    return {
        name: getattr(answer, name)
        for name in [
            "arrival_ns",
            "arrival_tokens",
            "output_tokens",
            "prompt_tokens",
            "output_characters",
            "first_answer_ns",
            "reasoning_tokens",
            "cached_tokens",
            "counted_by",
            "finish_reason",
            "error",
            "incomplete",
            "complete",
            "continuous",
            "message",
        ]
    }


def test_an_answer_reads_the_same_the_quick_way_and_the_slow_way(monkeypatch):
    draw, quick, taken = random.Random(5), [], 0
    answers = [pieces(draw, body(draw)) for _ in range(short_or_long(400, 20_000))]
    for reads in answers:
        quick.append(read(reads))
        taken += bool(quick[-1]["arrival_ns"])
    assert taken > len(answers) / 4
    monkeypatch.setattr("loadgen.answers.sse.plain_chunk", lambda data: None)
    assert [read(reads) for reads in answers] == quick


def test_text_and_counts_are_what_is_taken():
    assert plain_chunk(chunk()) == ("a", None)
    assert plain_chunk(b'{"choices": [{"delta": {"content": "b"}}], "usage": null, "other": [1]}') == ("b", None)
    usage = {"completion_tokens": 3, "prompt_tokens": 7, "total_tokens": 10}
    assert plain_chunk(chunk(usage=usage)) == ("a", Usage(3, 7))


@pytest.mark.parametrize(
    "event",
    [
        b"[DONE]",
        b"{",
        b"[1]",
        b'{"choices": []}',
        b'{"choices": [{"text": ""}]}',
        b'{"choices": [{"text": "a"}, {"text": "b"}]}',
        b'{"choices": [{"text": 5}]}',
        b'{"choices": [{"text": "a", "finish_reason": "stop"}]}',
        b'{"choices": [{"delta": {"content": null, "reasoning_content": "hm"}}]}',
        b'{"choices": [{"text": "a"}], "usage": {}}',
        b'{"choices": [{"text": "a"}], "usage": {"completion_tokens": -1}}',
        b'{"choices": [{"text": "a"}], "usage": {"completion_tokens": "3"}}',
        b'{"choices": [{"text": "\\ud800"}]}',
        b'{"choices": [{"text": "a"}], "error": null}',
        b'{"choices": [{"text": "a"}], "error_code": 3}',
        b'{"choices": [{"text": "a"}], "object": "error"}',
        b'{"x": ' + b"[" * 100_000,
    ],
)
def test_what_is_more_or_odd_is_left(event):
    assert plain_chunk(event) is None


def test_details_of_the_last_usage_are_read_at_the_end():
    usage = {"completion_tokens": 1, "prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 8}}
    answer = Answer()
    answer.feed(1, b"data: " + chunk(usage=usage) + b"\n\n")
    answer.settle()
    assert (answer.cached_tokens, answer.output_tokens, answer.prompt_tokens) == (8, 1, 9)


def test_a_name_that_is_no_text_costs_the_details_and_no_more():
    answer = Answer()
    answer.feed(1, b'data: {"choices": [{"text": "a"}], "usage": {"completion_tokens": 1, "\xff": 2}}\n\n')
    answer.settle()
    assert answer.arrival_tokens == [1]
