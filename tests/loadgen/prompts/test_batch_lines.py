"""Lines of OpenAI's batch format: what of a line is sent with its request, and what is named instead."""

from __future__ import annotations

import json

import pytest

from loadgen.endpoint import LoadError
from loadgen.prompts.files import file_prompts, input_notes
from loadgen.prompts.request_body import asked_tokens, request_body, request_form
from loadgen.workloads.base import Workload
from tests.loadgen.made import workload

HELLO = [{"role": "user", "content": "hello"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {}}}


def line(url="/v1/chat/completions", **body):
    return {"custom_id": "1", "method": "POST", "url": url, "body": {"model": "gpt", **body}}


def file_of(folder, *lines, name="batch.jsonl"):
    (folder / name).write_text("".join(json.dumps(each) + "\n" for each in lines))
    return str(folder / name)


def bodies(load, count):
    """The bodies of a load's first requests."""
    prompts = file_prompts(load)
    found = []
    for n in range(count):
        asked = asked_tokens(load, 0, n, prompts.own_length(n))
        found.append(json.loads(request_body("m", load, prompts[n], asked)))
    return found


def load_of(file, kind="single", **other):
    return workload(kind, prompts=file, warmup_requests=0, **other)


def test_each_request_has_the_keys_of_its_line_and_the_loads_own_where_that_says_nothing(tmp_path):
    sampled = {"messages": HELLO, "max_tokens": 5, "temperature": 0.7, "top_p": 0.9, "tools": [TOOL], "seed": 3}
    file = file_of(tmp_path, line(**sampled), line(messages=HELLO))
    first, second = bodies(load_of(file), 2)
    ours = {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "ignore_eos": True,
    }
    assert first == {**ours, **sampled}
    assert second == {**ours, "messages": HELLO, "max_tokens": 64, "temperature": 0}


def test_a_completions_line_keeps_its_keys_too_and_its_prompt_is_numbered_in_the_second_lap(tmp_path):
    file = file_of(tmp_path, line("/v1/completions", prompt="once", max_tokens=7, stop=["."]))
    first, second = bodies(load_of(file), 2)
    assert (first["prompt"], first["max_tokens"], first["stop"]) == ("once", 7, ["."])
    assert (second["prompt"], second["max_tokens"], second["stop"]) == ("(1) once", 7, ["."])
    (chat,) = bodies(load_of(file, endpoint="chat"), 1)
    assert (chat["messages"], chat["stop"]) == ([{"role": "user", "content": "once"}], ["."])
    assert "prompt" not in chat


@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens"])
def test_the_lines_length_is_the_requests_and_is_sent_under_the_name_that_the_line_has_for_it(tmp_path, key):
    file = file_of(tmp_path, line(messages=HELLO, **{key: 5}), line(messages=HELLO))
    first, second = bodies(load_of(file), 2)
    assert {name: first.get(name) for name in ("max_tokens", "max_completion_tokens")} == {
        "max_tokens": None, "max_completion_tokens": None, key: 5,
    }  # fmt: skip
    assert second["max_tokens"] == 64


def test_a_length_of_the_workloads_own_goes_before_the_lines_and_says_so(tmp_path):
    file = file_of(tmp_path, line(messages=HELLO, max_completion_tokens=5))
    load = load_of(file, output_tokens=9)
    (body,) = bodies(load, 1)
    assert (body["max_completion_tokens"], "max_tokens" in body) == (9, False)
    assert any("max_completion_tokens of lines is not sent: --output-tokens says" in note for note in input_notes(load))
    assert not any("--output-tokens" in note for note in input_notes(load_of(file)))


def test_the_workloads_body_is_over_the_line_and_null_takes_a_key_out(tmp_path):
    file = file_of(tmp_path, line(messages=HELLO, max_tokens=5, temperature=0.7, top_p=0.9))
    load = load_of(file, body={"temperature": 0.2, "top_p": None, "max_tokens": 3})
    (body,) = bodies(load, 1)
    assert (body["temperature"], body["max_tokens"], "top_p" in body) == (0.2, 3, False)
    assert asked_tokens(load, 0, 0, file_prompts(load).own_length(0)) == 3


def test_a_key_that_is_null_in_a_line_takes_ours_out(tmp_path):
    (body,) = bodies(load_of(file_of(tmp_path, line(messages=HELLO, temperature=None, max_tokens=None))), 1)
    assert "temperature" not in body
    assert body["max_tokens"] == 64


def test_what_cannot_be_sent_as_given_is_named_once_with_the_reason(tmp_path):
    file = file_of(
        tmp_path,
        line(messages=HELLO, n=2, stream=False),
        line(messages=HELLO, n=1, stream=True, stream_options={"include_usage": True}),
    )
    (note,) = input_notes(load_of(file))
    assert "model of 2 (--model names the model" in note
    assert "n of 1 (a request has one answer)" in note
    assert "stream of 1 (every answer is streamed" in note
    assert "stream_options" not in note  # which says what the load does
    (body, _) = bodies(load_of(file), 2)
    assert (body["model"], body["stream"], "n" in body) == ("m", True, False)


def test_a_row_that_is_no_whole_request_brings_no_keys_and_those_meant_for_one_are_named(tmp_path):
    file = file_of(tmp_path, {"messages": HELLO, "temperature": 0.7, "max_tokens": 5, "id": 4})
    (body,) = bodies(load_of(file), 1)
    assert (body["temperature"], body["max_tokens"], "id" in body) == (0, 64, False)
    (note,) = input_notes(load_of(file))
    assert 'not sent: max_tokens of 1, temperature of 1; only a line with a "body" brings its own' in note


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([line(messages=HELLO, max_tokens=0)], "line 1: max_tokens 0: must be a whole number of at least 1"),
        ([line(messages=HELLO, max_tokens="5")], "line 1: max_tokens '5': must be"),
        ([line(messages=HELLO), line(messages=HELLO, max_completion_tokens=2.5)], "line 2: max_completion_tokens 2.5"),
        ([line(messages=HELLO, max_tokens=True)], "line 1: max_tokens True"),
        ([line("/v1/embeddings", input="x")], "line 1: url /v1/embeddings: is neither /v1/completions nor"),
        ([line("/v1/completions", prompt=["a", "b"])], "line 1: prompt must be a string"),
        ([line(messages=HELLO), line("/v1/completions", prompt="x", top_p=1)], "mixes messages and plain prompts"),
    ],
)
def test_a_line_that_cannot_be_a_request_is_named(tmp_path, lines, said):
    with pytest.raises(LoadError, match=f"^--prompts [^\n]*{said}[^\n]*$"):
        file_prompts(load_of(file_of(tmp_path, *lines)))


def test_lines_with_keys_of_their_own_do_not_go_into_a_list(tmp_path):
    file = file_of(tmp_path, line("/v1/completions", prompt="x", top_p=0.5))
    with pytest.raises(LoadError, match="has lines with top_p, and --batch-as list has none"):
        input_notes(load_of(file, "batch", batch_as="list"))
    plain = file_of(tmp_path, {"prompt": "x"}, name="plain.jsonl")
    assert load_of(plain, "batch", batch_as="list").output_tokens == 64


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "asked:64"),
        ({"output_tokens": 9}, 9),
        ({"output_tokens": "9"}, 9),
        ({"output_tokens": "asked:uniform:3-5"}, "asked:uniform:3-5"),
        ({"prompts": "a.txt"}, 64),
        ({"prompts": "mmlu"}, 64),
    ],
)
def test_only_a_jsonl_file_leaves_lengths_to_its_lines_unless_the_workload_says_so(given, expected):
    load = workload("single", **{"prompts": "a.jsonl", **given})
    assert load.output_tokens == expected
    assert Workload.model_validate_json(load.model_dump_json()) == load


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"output_tokens": "asked:9"}, "needs `prompts`, whose lines may ask"),
        ({"output_tokens": "asked:", "prompts": "a.jsonl"}, "must be a number"),
        ({"prompt_tokens": "asked:9"}, "must be a number"),
    ],
)
def test_a_length_that_nobody_can_ask_for_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        workload("single", **given)


def test_the_form_has_the_keys_that_only_other_lines_bring(tmp_path):
    file = file_of(tmp_path, line(messages=HELLO, top_p=0.5), line(messages=HELLO, seed=3, tools=[TOOL]))
    load = load_of(file)
    form = request_form("m", load, file_prompts(load), 0)
    assert "top_p" in form.keys
    assert form.other_keys == ["seed", "tools"]


def test_a_sessions_turns_all_have_the_keys_and_the_length_of_its_line(tmp_path):
    said = [*HELLO, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "bye"}]
    load = load_of(file_of(tmp_path, line(messages=said, temperature=0.3, max_tokens=5)), "sessions", concurrency=1)
    sessions = file_prompts(load)
    assert sessions.session(0).others == {"temperature": 0.3, "max_tokens": 5}
    assert sessions.own_length(0) == 5
    (note,) = input_notes(load)
    assert "model of 1" in note
