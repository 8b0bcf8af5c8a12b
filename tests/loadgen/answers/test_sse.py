from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.answers.stream_end import error_of, parse
from tests.loadgen.answers.whole import events, read_answer
from tests.loadgen.scripted import event, token

DONE = b"data: [DONE]\n\n"


def reads(*parts):
    """Each part read a millisecond after the one before, from 1 ms on."""
    return [(1_000_000 * n, part) for n, part in enumerate(parts, 1)]


@given(
    payloads=st.lists(st.binary(min_size=1).filter(lambda b: not set(b) & set(b"\r\n") and b[:1] != b" "), max_size=6),
    newline=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    cuts=st.lists(st.integers(0, 400), max_size=30),
)
def test_events_are_the_same_however_the_bytes_are_split(payloads, newline, cuts):
    text = b"".join(b": alive" + newline * 2 + b"data: " + p + newline * 2 for p in payloads) + b":" + newline
    edges = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    parts = [text[a:b] for a, b in itertools.pairwise(edges)]
    found = list(events(reads(*parts)))
    assert [data for _, data in found] == payloads
    assert all(a <= b for (a, _), (b, _) in itertools.pairwise(found))


def test_an_event_has_the_time_of_the_read_that_completed_it():
    first, second = token("a", usage=1), token("b", usage=2)
    answer = read_answer(reads(first[:5], first[5:-1], first[-1:] + second[:3], second[3:] + DONE))
    assert answer.arrival_ns == [3_000_000, 4_000_000]


def test_data_over_several_lines_is_joined_and_other_fields_are_passed_over():
    text = b"event: x\r\nid: 7\r\ndata: 1\r\ndata:2\r\nretry: 5\r\n\r\n"
    assert list(events([(5, text)])) == [(5, b"1\n2")]


def test_comments_role_only_and_empty_chunks_are_not_tokens():
    role = event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}])
    word = event(choices=[{"index": 0, "delta": {"content": "hi"}}])
    answer = read_answer(reads(b": alive\n\n", role, token(""), word, token("", finish="stop"), DONE))
    assert (answer.arrival_ns, answer.arrival_tokens) == ([4_000_000], [1])
    assert (answer.counted_by, answer.finish_reason, answer.incomplete) == ("chunks", "stop", None)


def test_with_continuous_usage_an_empty_text_with_a_token_is_an_arrival_and_held_back_text_without_one_is_not():
    answer = read_answer(reads(token("", usage=1), token("late", usage=1), token("b", usage=4), DONE))
    assert (answer.arrival_ns, answer.arrival_tokens) == ([1_000_000, 3_000_000], [1, 4])
    assert (answer.output_tokens, answer.prompt_tokens, answer.counted_by) == (4, 3, "server-continuous-usage")


def test_a_role_chunk_with_no_tokens_yet_is_not_the_first_token():
    assert read_answer(reads(token("", usage=0), token("a", usage=1), DONE)).arrival_ns == [2_000_000]


def test_a_running_count_that_stays_zero_is_not_believed():
    total = event(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 2})
    answer = read_answer(reads(token("a", usage=0), token("b", usage=0), total, DONE))
    assert (answer.arrival_tokens, answer.counted_by) == ([1, 2], "server-usage")


def test_a_final_usage_corrects_the_count_of_chunks():
    total = event(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 8})
    answer = read_answer(reads(token("a"), token("b"), token("c"), token("d", finish="length"), total, DONE))
    assert (answer.arrival_tokens, answer.output_tokens, answer.prompt_tokens) == ([2, 4, 6, 8], 8, 9)
    assert answer.counted_by == "server-usage"


def test_a_usage_that_is_the_total_from_the_first_chunk_on_is_no_running_count():
    answer = read_answer(reads(*(token("a", usage=4) for _ in range(4)), DONE))
    assert (answer.arrival_tokens, answer.counted_by) == ([1, 2, 3, 4], "server-usage")
    assert answer.arrival_ns == [1_000_000, 2_000_000, 3_000_000, 4_000_000]


def test_several_choices_in_a_chunk_have_its_usage_once():
    choices = [{"index": n, "text": "a", "finish_reason": "length"} for n in (0, 1)]
    answer = read_answer(reads(event(choices=choices, usage={"prompt_tokens": 3, "completion_tokens": 2}), DONE))
    assert (answer.arrival_tokens, answer.output_tokens, answer.incomplete) == ([2], 2, None)


def test_an_error_in_mid_stream_keeps_the_tokens_before_it():
    answer = read_answer(reads(token("a", usage=1), event(error={"message": "the engine has died", "code": 503})))
    assert (answer.arrival_tokens, answer.error) == ([1], "the engine has died")


@pytest.mark.parametrize(
    "data", [b"[]", b"5", b"null", b"{", b'{"choices": 5}', b'{"choices": [7]}', b'{"choices": [], "usage": []x}']
)
def test_what_is_no_chunk_is_an_error_of_that_request_and_not_of_the_trial(data):
    answer = read_answer(reads(token("a", usage=1), b"data: " + data + b"\n\n", DONE))
    assert answer.arrival_tokens == [1]
    assert "is not a completion chunk" in answer.error


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((token("a", usage=1),), "without [DONE]"),
        ((token(""), DONE), "no tokens"),
        ((token("a", usage=1, finish="abort"), DONE), "before it was finished"),
    ],
)
def test_an_answer_that_is_not_whole_says_what_it_lacks(parts, reason):
    assert reason in read_answer(reads(*parts)).incomplete


def test_an_openai_error_is_reported_in_one_line_and_anything_else_by_its_beginning():
    assert error_of(400, json.dumps({"error": {"message": "too\nlong"}}).encode()) == "HTTP 400: too long"
    assert error_of(502, b"<html>\n bad gateway") == "HTTP 502: <html> bad gateway"


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
    ascii_only=st.booleans(),
    cut=st.integers(0, 8),
)
def test_json_is_read_as_the_standard_library_reads_it(value, ascii_only, cut):
    """Whole or cut short; repr distinguishes NaN from NaN and 1 from 1.0."""
    text = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    data = text[: len(text) - cut] if cut < len(text) else text
    try:
        expected = repr(json.loads(data))
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - whatever kind of it
            parse(data)
    else:
        assert repr(parse(data)) == expected
