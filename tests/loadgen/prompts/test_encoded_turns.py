"""The bodies of a session are those that encoding the whole conversation at every turn gives, whatever is said."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from loadgen.answers.sse import Answer
from loadgen.prompts.encoded_turns import encode_turns
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
TURN = st.tuples(st.lists(ASKED, max_size=2), TEXT, ANSWER)
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
    said, messages = [], []
    for asked, last, answer in turns:
        messages += [*asked, {"role": "user", "content": last}, answer]
    load = workload("sessions", concurrency=1, prompts="x.jsonl", output_tokens="uniform:1-99", natural_stop=natural)
    load = load.model_copy(update={"body": {k: v for k, v in (body or {}).items() if k not in NOT_FREE}})
    conversation = FileSessions([{"messages": messages, **others}]).session(0)
    encoded = encode_turns("m", load, conversation, seed=7, first=5)
    before = []
    for index, ((asked, last, answer), turn) in enumerate(zip(turns, encoded, strict=True), 5):
        before += [*asked, {"role": "user", "content": last}]
        whole = request_body("m", load, {**others, "messages": before}, load.answer_length(7, index))
        assert turn.body(said) == whole
        answered = answer if recorded else {"role": "assistant", "content": answer["content"][::-1]}
        said += [turn.asked, turn.recorded if recorded else json.dumps(answered).encode()]
        before.append(answered)


@given(st.lists(DELTA))
def test_the_message_that_is_sent_back_is_what_was_said_between_reasoning_and_calls(deltas):
    answer = Answer(keep_message=True)
    for n, delta in enumerate(deltas, 1):
        answer.feed(n, event(choices=[{"index": 0, "delta": delta}]))
    answer.settle()
    text = "".join(delta.get("content") or "" for delta in deltas)
    assert answer.message == json.dumps({"role": "assistant", "content": text}).encode()
