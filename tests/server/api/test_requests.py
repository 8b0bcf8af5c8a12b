from __future__ import annotations

import json

import pytest

from server.api.requests.body import parse
from server.api.requests.chat import ChatRequest
from server.api.requests.completion import CompletionRequest
from server.errors import ApiError

CHAT = {"messages": [{"role": "user", "content": "hi"}]}


def refused(kind, **fields):
    with pytest.raises(ApiError) as caught:
        parse(kind, json.dumps(fields).encode())
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize("field", ["suffix", "logit_bias", "guided_json", "use_beam_search"])
def test_a_field_this_server_has_not_is_refused_by_name(field):
    error = refused(CompletionRequest, prompt="x", **{field: 1})
    assert error.message == f"{field}: this server does not support this field"
    assert error.param == field


def test_every_wrong_field_is_named_once():
    error = refused(CompletionRequest, prompt="x", suffix="y", temperature=-1, n=0)
    assert [part.split(":")[0] for part in error.message.split("; ")] == ["n", "temperature", "suffix"]


def test_null_is_the_default_for_every_field():
    asked = parse(CompletionRequest, b'{"prompt":"x","stop":null,"suffix":null,"n":null,"temperature":null}')
    assert (asked.stop_strings, asked.n, asked.temperature) == ([], 1, 1.0)


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("a", ["a"]), ([1, 2], [[1, 2]]), (["a", "b"], ["a", "b"]), ([[1], [2, 3]], [[1], [2, 3]])],
)
def test_a_prompt_is_text_or_ids_or_a_list_of_either(prompt, prompts):
    assert parse(CompletionRequest, json.dumps({"prompt": prompt}).encode()).prompts == prompts


@pytest.mark.parametrize("prompt", [[], [[]], [1, "a"], 3, [True], [1.5], [["a"]], {}])
def test_any_other_prompt_is_refused(prompt):
    assert refused(CompletionRequest, prompt=prompt).message.startswith("prompt: must be a text, a list of token ids")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("top_p", 0),
        ("top_p", 1.1),
        ("top_k", -2),
        ("min_p", 2),
        ("n", 1000),
        ("logprobs", 21),
        ("max_tokens", -1),
        ("seed", 2**63),
        ("stop", ""),
        ("stop", [""]),
        ("stop", ["x"] * 65),
        ("max_tokens", "5"),
        ("stream", 1),
    ],
)
def test_values_out_of_range_or_of_the_wrong_type_are_refused_by_name(field, value):
    assert refused(CompletionRequest, prompt="x", **{field: value}).param == field


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_are_refused(value):
    with pytest.raises(ApiError, match="temperature"):
        parse(CompletionRequest, f'{{"prompt":"x","temperature":{value}}}'.encode())


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_not_json_is_refused(body):
    with pytest.raises(ApiError, match="the body is not JSON"):
        parse(CompletionRequest, body)


def test_a_body_that_is_no_object_is_refused():
    with pytest.raises(ApiError) as caught:
        parse(CompletionRequest, b"[1]")
    assert caught.value.status == 400


def test_options_that_contradict_each_other_are_refused():
    assert "min_tokens 9" in refused(CompletionRequest, prompt="x", min_tokens=9, max_tokens=3).message
    assert "stream_options" in refused(CompletionRequest, prompt="x", stream_options={}).message
    assert "echo" in refused(CompletionRequest, prompt="x", max_tokens=0).message
    assert "top_logprobs" in refused(ChatRequest, **CHAT, top_logprobs=2).message


def test_every_choice_has_a_seed_of_its_own():
    asked = parse(CompletionRequest, b'{"prompt":"x","n":4,"seed":9223372036854775807}')
    seeds = {asked.sampling(1, None, choice).seed for choice in range(4)}
    assert len(seeds) == 4
    assert all(-(2**63) <= seed < 2**63 for seed in seeds)
    assert asked.sampling(1, None, 0).seed == 2**63 - 1


def test_sampling_defaults_are_openais():
    options = parse(CompletionRequest, b'{"prompt":"x"}').sampling(16, None, 0)
    assert (options.temperature, options.top_p, options.top_k, options.repetition_penalty) == (1.0, 1.0, 0, 1.0)


def test_a_message_given_in_parts_is_one_text():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    asked = parse(ChatRequest, json.dumps({"messages": [{"role": "user", "content": parts}]}).encode())
    assert asked.messages[0].for_template() == {"role": "user", "content": "ab"}


def test_what_a_message_may_not_hold_is_named_with_its_place():
    images = [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]
    assert refused(ChatRequest, messages=images).param == "messages.0.content"
    calls = [{"role": "assistant", "content": "", "function_call": {}}]
    assert refused(ChatRequest, messages=calls).param == "messages.0.function_call"
    assert refused(ChatRequest, **CHAT, tools=[1]).param == "tools"
    assert refused(ChatRequest, **CHAT, tool_choice="auto").param == "tool_choice"
    assert "twice" in refused(ChatRequest, **CHAT, tools=[{}], chat_template_kwargs={"tools": []}).message
    assert refused(ChatRequest, **CHAT, response_format={"type": "json_object"}).param == "response_format.type"


def test_the_newer_name_of_the_token_limit_goes_first():
    asked = parse(ChatRequest, json.dumps({**CHAT, "max_tokens": 5, "max_completion_tokens": 7}).encode())
    assert asked.most_tokens == 7
