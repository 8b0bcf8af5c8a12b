"""Sessions whose server calls tools, and files with tools' answers: held against a server as strict as OpenAI's API."""

from __future__ import annotations

import json

import pytest

from loadgen.endpoint import Endpoint
from loadgen.energy.source import NoEnergy
from loadgen.prompts.files import file_prompts, input_notes
from loadgen.prompts.synthetic import make_prompts
from loadgen.trial import run_trial
from tests.loadgen.made import workload
from tests.loadgen.scripted import END, HEAD, ScriptedServer, chunked, event, sized

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]


def called(*ids):
    """The tools' calls of a message."""
    function = {"name": "weather", "arguments": "{}"}
    return [{"id": each, "type": "function", "function": function} for each in ids]


RECORDED = [
    {"role": "user", "content": "how is it in Oslo?"},
    {"role": "assistant", "content": None, "tool_calls": called("recorded")},
    {"role": "tool", "content": "rain", "tool_call_id": "recorded"},
    {"role": "assistant", "content": "It rains."},
    {"role": "user", "content": "thanks"},
]


def answers(*calls):
    """A script: its n-th answer is text where `calls` has nothing there, else that many calls of tools, with ids of its own."""

    def script(n, asked):
        if (problem := open_calls(asked.body["messages"])) is not None:
            return [sized(json.dumps({"error": {"message": problem}}).encode(), "400 Bad Request")]
        count = calls[n] if n < len(calls) else 0
        deltas = [{"content": f"answer {n}"}]
        if count:
            deltas = [{"tool_calls": [{"index": i, **call}]} for i, call in enumerate(called(*ids_of(n, count)))]
        finish = "tool_calls" if count else "stop"
        chunks = [event(choices=[{"index": 0, "delta": delta}]) for delta in deltas]
        chunks.append(event(choices=[{"index": 0, "delta": {}, "finish_reason": finish}]))
        return [HEAD, *map(chunked, chunks), chunked(b"data: [DONE]\n\n") + END]

    return script


def ids_of(n, count):
    return [f"own-{n}-{i}" for i in range(count)]


def open_calls(messages):
    """What OpenAI's API refuses: a call that no tool answers, or a tool's answer without a call."""
    due = []
    for message in messages:
        if message["role"] == "tool":
            if message.get("tool_call_id") not in due:
                return "messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
            due.remove(message["tool_call_id"])
            continue
        if due:
            return f"tool_call_ids did not have response messages: {due}"
        due = [call["id"] for call in message.get("tool_calls", [])]
    return f"tool_call_ids did not have response messages: {due}" if due else None


def held(load, script, prompts):
    with ScriptedServer(script) as server:
        endpoint = Endpoint(server.url, "m")
        result = run_trial(endpoint, load, prompts, seed=0, energy=NoEnergy("not here"))
    assert [r.error for r in result.records] == [None] * len(server.asked)
    return [one.body["messages"] for one in server.asked], result


def of_file(tmp_path, messages, script, **other):
    file = tmp_path / "chats.jsonl"
    file.write_text(json.dumps({"messages": messages, "tools": TOOLS}) + "\n")
    load = workload("sessions", concurrency=1, warmup_requests=0, requests=3, prompts=str(file), **other)
    assert input_notes(load) == ()
    asked, _ = held(load, script, file_prompts(load))
    return asked


def test_the_servers_call_is_answered_by_the_files_tool_under_the_servers_id(tmp_path):
    first, second, third = of_file(tmp_path, RECORDED, answers(1))
    assert first == RECORDED[:1]
    call, rain = second[1:]
    assert call == {"role": "assistant", "content": None, "tool_calls": called("own-0-0")}
    assert rain == {"role": "tool", "content": "rain", "tool_call_id": "own-0-0"}
    assert third == [*second, {"role": "assistant", "content": "answer 1"}, RECORDED[4]]


def test_several_calls_are_answered_in_order(tmp_path):
    two = [
        RECORDED[0],
        {"role": "assistant", "content": None, "tool_calls": called("a", "b")},
        {"role": "tool", "content": "rain", "tool_call_id": "a"},
        {"role": "tool", "content": "snow", "tool_call_id": "b"},
        *RECORDED[3:],
    ]
    _, second, _ = of_file(tmp_path, two, answers(2))
    assert [(one["content"], one["tool_call_id"]) for one in second[2:]] == [("rain", "own-0-0"), ("snow", "own-0-1")]


@pytest.mark.parametrize("calls", [0, 2])
def test_where_the_server_calls_otherwise_than_the_file_goes_on_the_files_call_is_carried_on(tmp_path, calls):
    _, second, third = of_file(tmp_path, RECORDED, answers(calls))
    assert second == RECORDED[:3]
    assert third == [*RECORDED[:3], {"role": "assistant", "content": "answer 1"}, RECORDED[4]]


def test_a_call_for_which_the_file_has_no_answer_is_answered_with_an_empty_text(tmp_path):
    _, second, third = of_file(tmp_path, RECORDED, answers(1, 2))
    assert third[:3] == second
    assert third[3]["tool_calls"] == called("own-1-0", "own-1-1")
    empty = [{"role": "tool", "content": "", "tool_call_id": each} for each in ids_of(1, 2)]
    assert third[4:] == [*empty, RECORDED[4]]


def test_so_it_is_in_synthetic_sessions_whose_turns_are_all_a_users():
    load = workload(
        "sessions", concurrency=1, requests=2, turns=2, prompt_as="words", warmup_requests=0, body={"tools": TOOLS}
    )
    (_, second), result = held(load, answers(1), make_prompts(load, (), 0))
    assert [one["role"] for one in second] == ["user", "assistant", "tool", "user"]
    assert second[1]["tool_calls"] == called("own-0-0")
    assert [r.finish_reason for r in result.records] == ["tool_calls", "stop"]


def test_recorded_calls_are_carried_on_as_they_are(tmp_path):
    *_, third = of_file(tmp_path, RECORDED, answers(1, 1), carry="recorded")
    assert third == RECORDED
