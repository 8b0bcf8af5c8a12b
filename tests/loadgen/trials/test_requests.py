"""What a load sends: to which path, with which body and headers."""

from __future__ import annotations

import hashlib
import json

import pytest

from loadgen.endpoint import Endpoint, LoadError, headers_of
from loadgen.energy.source import NoEnergy
from loadgen.prompts.files import input_notes, read_prompts
from loadgen.prompts.synthetic import make_prompts
from loadgen.trial import run_trial
from tests.loadgen.made import summary_of, workload
from tests.loadgen.scripted import END, HEAD, ScriptedServer, chunked, event, stream

HELLO = {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]}
WEATHER = {
    "messages": [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]}
    ],
    "tools": [{"type": "function", "function": {"name": "weather", "parameters": {}}}],
}


def chat_stream(*_):
    """Two tokens after an empty chunk that names the role, as chat answers begin."""
    chunks = [event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}])]
    chunks += [event(choices=[{"index": 0, "delta": {"content": text}}]) for text in "ab"]
    chunks.append(event(choices=[{"index": 0, "delta": {}, "finish_reason": "length"}]))
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    return [HEAD, *map(chunked, chunks), chunked(event(choices=[], usage=usage)), chunked(b"data: [DONE]\n\n") + END]


def sent(load, prompts, script=chat_stream, **settings):
    with ScriptedServer(script, pages={}) as server:
        result = run_trial(Endpoint(server.url, "m", **settings), load, prompts, seed=0, energy=NoEnergy("not here"))
        return result, server.asked


def prompts_of(tmp_path, rows):
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_prompts(str(file))


def paths(asked):
    return {one.head.split()[1] for one in asked}


def test_messages_go_to_the_chat_endpoint_as_they_are_and_the_answer_is_read(tmp_path):
    load = workload("single", requests=2, warmup_requests=0, output_tokens=2)
    result, asked = sent(load, prompts_of(tmp_path, [HELLO, WEATHER]))
    assert paths(asked) == {"/v1/chat/completions"}
    assert asked[0].body["messages"] == HELLO["messages"]
    assert {key: asked[1].body[key] for key in WEATHER} == WEATHER
    assert asked[0].body["max_tokens"] == 2
    assert [(r.error, r.prompt_tokens, r.output_tokens) for r in result.records] == [(None, 9, 2)] * 2
    assert summary_of(result.trial, result.records)["endpoint_type"] == "openai-chat"


def test_the_second_lap_of_a_files_chats_begins_with_its_number(tmp_path):
    prompts = prompts_of(tmp_path, [HELLO, WEATHER])
    assert prompts[2]["messages"][0] == {"role": "system", "content": "(1) be brief"}
    assert prompts[3]["messages"][0]["content"][0] == {"type": "text", "text": "(1)"}
    assert prompts[3]["tools"] == WEATHER["tools"]


def test_a_batch_file_of_openais_is_read_for_what_its_bodies_ask(tmp_path):
    lines = [{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "x", **HELLO}}]
    assert prompts_of(tmp_path, lines)[0] == HELLO


def test_requests_of_a_batch_file_are_sent_with_the_keys_of_their_lines_and_recorded_with_their_lengths(tmp_path):
    lines = [
        {"body": {"model": "x", **HELLO, "max_tokens": 2, "temperature": 0.7}},
        {"body": {"model": "x", **HELLO, "max_completion_tokens": 3, "top_p": 0.5}},
    ]
    prompts = prompts_of(tmp_path, lines)
    load = workload("single", requests=2, warmup_requests=0, prompts=str(tmp_path / "prompts.jsonl"))
    result, asked = sent(load, prompts)
    ours = ("temperature", "top_p", "max_tokens", "max_completion_tokens")
    assert [{key: one.body[key] for key in ours if key in one.body} for one in asked] == [
        {"temperature": 0.7, "max_tokens": 2},
        {"temperature": 0, "top_p": 0.5, "max_completion_tokens": 3},
    ]
    assert [r.asked_tokens for r in result.records] == [2, 3]
    assert result.trial.form.other_keys == ["max_completion_tokens", "top_p"]


@pytest.mark.parametrize("form", ["text", "words"])
def test_synthetic_prompts_go_to_chat_as_a_users_message(form):
    load = workload("single", requests=1, warmup_requests=0, prompt_tokens=5, endpoint="chat", prompt_as=form)
    words = make_prompts(load.model_copy(update={"prompt_as": "words"}), (), 0)
    result, asked = sent(load, words)
    (message,) = asked[0].body["messages"]
    assert message["role"] == "user"
    assert len(message["content"].split()) == 5
    assert result.trial.form.path == "/v1/chat/completions"


def test_prompts_for_chat_are_text_unless_they_are_said_to_be_words():
    assert workload("single", endpoint="chat").prompt_as == "text"
    assert workload("single", endpoint="chat", prompt_as="words").prompt_as == "words"
    with pytest.raises(ValueError, match="chat takes text"):
        workload("single", endpoint="chat", prompt_as="ids")
    with pytest.raises(ValueError, match="one conversation a request"):
        workload("batch", endpoint="chat", prompt_as="words", batch_as="list")


def test_the_users_body_is_over_ours_and_null_takes_a_key_out():
    body = {"temperature": 0.7, "top_p": 0.9, "seed": 7, "ignore_eos": None, "stream_options": None}
    load = workload("single", requests=1, warmup_requests=0, prompt_as="words", output_tokens=2, body=body)
    result, asked = sent(load, make_prompts(load, (), 0), script=lambda *_: stream(2))
    keys = asked[0].body.keys()
    assert keys == {"model", "prompt", "max_tokens", "temperature", "stream", "top_p", "seed"}
    assert (asked[0].body["temperature"], asked[0].body["seed"]) == (0.7, 7)
    assert result.trial.workload.body == body
    form = result.trial.form
    assert (form.path, form.keys) == ("/v1/completions", sorted(keys))
    assert form.sha256 == hashlib.sha256(json.dumps(asked[0].body).encode()).hexdigest()


def test_headers_are_sent_and_only_their_names_are_recorded():
    load = workload("single", requests=1, warmup_requests=0, prompt_as="words", output_tokens=2)
    headers = headers_of(["X-Team: search", "api-key:  secret"])
    result, asked = sent(load, make_prompts(load, (), 0), script=lambda *_: stream(2), headers=headers)
    assert "\r\nX-Team: search\r\napi-key: secret\r\n" in asked[0].head
    assert result.trial.headers == ["X-Team", "api-key"]
    assert "secret" not in result.trial.model_dump_json()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("X-Team", "must be like"),
        ("X Team: a", "must be like"),
        ("X-Team: a\r\nX-Other: b", "must be like"),
        ("Authorization: Bearer k", "--api-key-file"),
        ("content-length: 3", "set by the load itself"),
    ],
)
def test_a_header_that_cannot_be_is_one_line(given, said):
    with pytest.raises(LoadError, match=f"^--header [^\n]*{said}[^\n]*$"):
        headers_of([given])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([HELLO, {"prompt": "x"}], "mixes messages and plain prompts"),
        ([{"messages": []}], "line 1: messages must be a list"),
        ([HELLO, {"messages": [{"content": "x"}]}], "line 2: messages must be a list"),
        ([{"messages": [{"role": "user", "content": 3}]}], "line 1: messages must be a list"),
        ([{"other": 1}], "is not"),
    ],
)
def test_a_file_without_proper_messages_is_named_with_its_line(tmp_path, rows, said):
    with pytest.raises(LoadError, match=said):
        prompts_of(tmp_path, rows)


def test_messages_do_not_go_to_completions_nor_into_a_list(tmp_path):
    prompts_of(tmp_path, [HELLO])
    file = str(tmp_path / "prompts.jsonl")
    with pytest.raises(LoadError, match="only --endpoint chat takes"):
        input_notes(workload("single", prompts=file, endpoint="completions"))
    with pytest.raises(LoadError, match="--batch-as list"):
        input_notes(workload("batch", prompts=file, batch_as="list"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{", "is not JSON"),
        ("nowhere.json", "is neither JSON like"),
        ('{"stream": false}', "cannot set stream"),
        ('{"messages": []}', "cannot set messages"),
        ([1], "valid dictionary"),
    ],
)
def test_a_body_that_cannot_be_says_why(given, said):
    with pytest.raises(ValueError, match=said):
        workload("single", body=given)


def test_a_body_may_be_a_file_and_the_record_has_what_it_held(tmp_path):
    file = tmp_path / "body.json"
    file.write_text('{"top_k": 3}')
    assert workload("single", body=str(file)).body == {"top_k": 3}
    assert "body with" in workload("single", body=str(file)).describe()
