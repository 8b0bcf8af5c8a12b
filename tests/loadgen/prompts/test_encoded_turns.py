"""The bodies of a session are those that encoding the whole conversation at every turn gives, whatever is said."""

from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from loadgen.answers.sse import Answer
from loadgen.prompts.encoded_turns import Carried, encode_turns
from loadgen.prompts.request_body import request_body
from loadgen.prompts.sessions import FileSessions
from tests.loadgen.made import workload
from tests.loadgen.scripted import event

TEXT = st.text(st.characters())  # halves of surrogate pairs too
ROLES = st.sampled_from(["user", "system", "tool"])
PARTS = st.lists(st.builds(lambda text: {"type": "text", "text": text}, TEXT), max_size=2)
ASKED = st.builds(lambda role, text: {"role": role, "content": text}, ROLES, TEXT | PARTS)
CALLS = st.lists(st.builds(lambda text: {"function": {"name": "f", "arguments": text}}, TEXT), min_size=1, max_size=2)
ANSWER = st.builds(
    lambda text, calls: {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})},
    TEXT,
    st.none() | CALLS,
)
IDS = st.lists(st.text(min_size=1), max_size=2, unique=True)  # of the calls of tools in the server's answer
TURN = st.tuples(st.lists(ASKED, max_size=2), TEXT, ANSWER, IDS)
OTHERS = st.fixed_dictionaries({}, optional={"tools": st.lists(st.dictionaries(TEXT, TEXT)), "tool_choice": TEXT})
BODY = st.none() | st.dictionaries(TEXT, TEXT | st.none() | st.lists(TEXT), max_size=3)
NOT_FREE = {"model", "messages", "stream"}  # in a workload's own body
DELTA = st.one_of(
    st.builds(lambda text: {"content": text}, TEXT),
    st.builds(lambda text: {"content": None, "reasoning_content": text}, TEXT),
    st.builds(lambda calls: {"tool_calls": calls}, CALLS),
)


@given(st.lists(TURN, min_size=1, max_size=4), OTHERS, BODY, st.booleans(), st.booleans())
def test_each_body_is_that_of_all_that_was_said(turns, others, body, natural, recorded):
    messages = []
    for asked, last, answer, _ in turns:
        messages += [*asked, {"role": "user", "content": last}, answer]
    load = workload("sessions", concurrency=1, prompts="x.jsonl", output_tokens="uniform:1-99", natural_stop=natural)
    load = load.model_copy(update={"body": {k: v for k, v in (body or {}).items() if k not in NOT_FREE}})
    conversation = FileSessions([{"messages": messages, **others}]).session(0)
    carried = Carried(encode_turns("m", load, conversation, seed=7, first=5), recorded=recorded)
    before, asked = [], own_messages(turns[0])
    for n, (_, _, answer, ids) in enumerate(turns):
        before += asked
        whole = request_body("m", load, {**others, "messages": before}, load.answer_length(7, 5 + n))
        assert carried.body(n) == whole
        if n == len(turns) - 1:
            return
        said = {"role": "assistant", "content": answer["content"][::-1]}
        if ids:
            said["tool_calls"] = [{"id": one, "function": {"name": "f", "arguments": "{}"}} for one in ids]
        following = own_messages(turns[n + 1])
        tools = list(itertools.takewhile(lambda message: message["role"] == "tool", following))
        if recorded or (tools and len(tools) != len(ids)):
            before.append(answer)
            asked = following
        elif tools:
            before.append(said)
            asked = [tool | {"tool_call_id": one} for tool, one in zip(tools, ids, strict=True)]
            asked += following[len(tools) :]
        else:
            before += [said, *({"role": "tool", "content": "", "tool_call_id": one} for one in ids)]
            asked = following
        carried.answer(n, json.dumps(said).encode(), ids)


def own_messages(turn):
    return [*turn[0], {"role": "user", "content": turn[1]}]


@given(st.lists(DELTA))
def test_the_message_that_is_sent_back_is_what_was_said_without_reasoning_and_with_calls(deltas):
    answer = Answer(keep_message=True)
    for n, delta in enumerate(deltas, 1):
        answer.feed(n, event(choices=[{"index": 0, "delta": delta}]))
    answer.settle()
    text = "".join(delta.get("content") or "" for delta in deltas)
    message = json.loads(answer.message)
    pieces = [delta["tool_calls"] for delta in deltas if "tool_calls" in delta]
    calls = message.pop("tool_calls", [])
    assert message == {"role": "assistant", "content": text or None if pieces else text}
    assert len(calls) == max(map(len, pieces), default=0)
    for place, call in enumerate(calls):  # pieces without an index are of the call at their place
        own = [each[place]["function"]["arguments"] for each in pieces if place < len(each)]
        assert call["function"] == {"name": "f" * len(own), "arguments": "".join(own)}
    assert answer.calls == tuple(call["id"] for call in calls)
