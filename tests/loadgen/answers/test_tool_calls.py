"""Calls of tools in an answer: what a conversation is carried on with."""

from __future__ import annotations

import json

import pytest

from loadgen.answers.sse import Answer
from tests.loadgen.made import MS
from tests.loadgen.scripted import event

DONE = b"data: [DONE]\n\n"


def call(index=None, **fields):
    piece = {"function": {key: fields.pop(key) for key in ("name", "arguments") if key in fields}, **fields}
    return piece if index is None else {"index": index, **piece}


def chunk(*calls, finish=None, content=None):
    delta = {"content": content, "tool_calls": list(calls)} if calls else {"content": content}
    return event(choices=[{"index": 0, "delta": delta, "finish_reason": finish}])


def read(*parts):
    answer = Answer(keep_message=True)
    for n, part in enumerate(parts, 1):
        answer.feed(n * MS, part)
    answer.settle()
    return answer


def said(answer):
    return json.loads(answer.message)


def whole(identity, name, arguments):
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_the_pieces_of_a_call_are_put_together_as_openais_api_has_it():
    answer = read(
        chunk(call(0, id="a", type="function", name="weather", arguments="")),
        chunk(call(0, arguments='{"city": ')),
        chunk(call(0, arguments='"Oslo"}')),
        chunk(finish="tool_calls"),
        DONE,
    )
    assert said(answer) == {
        "role": "assistant",
        "content": None,
        "tool_calls": [whole("a", "weather", '{"city": "Oslo"}')],
    }
    assert (answer.calls, answer.error, answer.incomplete, answer.finish_reason) == (("a",), None, None, "tool_calls")
    assert answer.output_tokens == 3


def test_text_before_a_call_is_kept_also_in_one_chunk_with_it():
    answer = read(chunk(content="I look."), chunk(call(0, id="a", name="f", arguments="{}"), content=" Now."), DONE)
    assert (said(answer)["content"], said(answer)["tool_calls"]) == ("I look. Now.", [whole("a", "f", "{}")])


def test_several_calls_are_told_apart_by_their_index_or_by_their_id():
    counted = read(
        chunk(call(0, id="a", name="f", arguments="1")),
        chunk(call(1, id="b", name="g", arguments="2")),
        chunk(call(0, arguments="3")),
        DONE,
    )
    assert said(counted)["tool_calls"] == [whole("a", "f", "13"), whole("b", "g", "2")]
    same = read(chunk(call(0, id="a", name="f", arguments="1")), chunk(call(0, id="b", name="g", arguments="2")), DONE)
    assert said(same)["tool_calls"] == [whole("a", "f", "1"), whole("b", "g", "2")]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "tool_calls": [whole("a", "f", "{}"), whole("b", "g", "{}")]},
        {"role": "assistant", "content": "", "tool_calls": [{**whole("a", "f", {}), "id": "a"}, whole("b", "g", {})]},
    ],
)
def test_an_answer_in_one_piece_and_arguments_that_are_no_text_are_read_too(message):
    answer = read(json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}).encode())
    assert answer.calls == ("a", "b")
    assert [each["function"]["name"] for each in said(answer)["tool_calls"]] == ["f", "g"]
    assert said(answer)["content"] is None


def test_a_call_without_an_id_has_one_to_be_answered_by():
    answer = read(chunk(call(0, name="f", arguments="{}"), call(1, name="g", arguments="{}")), DONE)
    assert answer.calls == ("call_0", "call_1")


@pytest.mark.parametrize("calls", [[3], [{"function": 3}], [{"index": [], "function": {}}], {"a": 1}])
def test_calls_that_are_none_are_an_error_of_the_answer(calls):
    answer = read(event(choices=[{"index": 0, "delta": {"content": "x", "tool_calls": calls}}]), DONE)
    assert "not a completion chunk" in answer.error
