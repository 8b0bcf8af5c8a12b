"""Reasoning apart from the answer, and the prompt's share in the prefix cache."""

from __future__ import annotations

import pytest

from loadgen.answers.sse import Answer
from tests.loadgen.made import MS, record, summary_of, trial
from tests.loadgen.scripted import event

DONE = b"data: [DONE]\n\n"


def chunk(running=None, finish=None, **delta):
    usage = {} if running is None else {"usage": {"prompt_tokens": 3, "completion_tokens": running}}
    return event(choices=[{"index": 0, "delta": delta, "finish_reason": finish}], **usage)


def read(*parts, **settings):
    answer = Answer(**settings)
    for n, part in enumerate(parts, 1):
        answer.feed(n * MS, part)
    answer.settle()
    return answer


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_the_first_answer_is_the_first_chunk_after_the_reasoning(key):
    answer = read(
        chunk(role="assistant"),
        chunk(**{key: "hm"}),
        chunk(**{key: "so"}),
        chunk(content="4"),
        chunk(finish="stop"),
        DONE,
    )
    assert (answer.arrival_ns[0], answer.first_answer_ns) == (2 * MS, 4 * MS)
    assert (answer.reasoning_tokens, answer.output_tokens, answer.error) == (2, 3, None)


def test_a_running_count_says_how_many_tokens_the_reasoning_had():
    answer = read(
        chunk(3, reasoning_content="hm"), chunk(7, reasoning_content="so"), chunk(9, content="4", finish="stop"), DONE
    )
    assert (answer.reasoning_tokens, answer.output_tokens) == (7, 9)


def test_the_usages_own_count_goes_before_and_chunks_are_scaled_to_the_total():
    parts = [chunk(reasoning_content="hm"), chunk(content="4", finish="stop")]
    usage = {"prompt_tokens": 3, "completion_tokens": 10}
    assert read(*parts, event(choices=[], usage=usage), DONE).reasoning_tokens == 5
    details = {"completion_tokens_details": {"reasoning_tokens": 6}, "prompt_tokens_details": {"cached_tokens": 2}}
    answer = read(*parts, event(choices=[], usage=usage | details), DONE)
    assert (answer.reasoning_tokens, answer.cached_tokens) == (6, 2)


def test_an_answer_without_reasoning_has_none_and_one_of_reasoning_alone_never_begins():
    plain = read(chunk(content="a"), chunk(content="b", finish="stop"), DONE)
    assert (plain.reasoning_tokens, plain.first_answer_ns, plain.cached_tokens) == (None, None, None)
    cut = read(chunk(reasoning_content="hm"), chunk(reasoning_content="so", finish="length"), DONE)
    assert (cut.reasoning_tokens, cut.first_answer_ns) == (2, None)


@pytest.mark.parametrize("details", [None, 3, [], {"cached_tokens": "many"}, {"cached_tokens": -1}])
def test_details_that_are_none_are_passed_over(details):
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": details}
    assert read(chunk(content="a", finish="stop"), event(choices=[], usage=usage), DONE).cached_tokens is None


def test_the_message_carried_on_is_the_answer_without_its_reasoning():
    message, reasoned = b'{"role": "assistant", "content": "42"}', chunk(reasoning_content="hm")
    said = chunk(content="4"), chunk(content="2")
    assert read(reasoned, *said, DONE, keep_message=True).message == message
    assert read(reasoned, *said, b"data: {broken\n\n", chunk(content="1"), DONE, keep_message=True).message == message
    whole = b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "42"}}]}'
    assert read(whole, keep_message=True).message == message


def test_the_summary_shares_joules_between_reasoning_and_answers_by_tokens():
    records = [
        record(n, 10 * n, 10 * n + 2, 10 * n + 8, tokens=4, reasoning_tokens=3, first_answer_ns=(10 * n + 6) * MS)
        for n in range(3)
    ]
    summary = summary_of(trial(0, 40, gross_joules=8.0, gross_joules_uncertainty=0.1, source="nvml"), records)
    assert (summary["total_reasoning_tokens"], summary["reasoning_share"]) == (9, 0.75)
    assert (summary["joules_of_reasoning"], summary["joules_of_answers"]) == (6.0, 2.0)
    assert summary["mean_first_answer_ms"] == pytest.approx(6.0)
    assert "reasoning_share" not in summary_of(trial(0, 40), [record(0, 0, 2, 8)])
