from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import httpx
import pytest

from tests.server.conftest import events, running_server, write_checkpoint


def complete(client, **fields):
    response = client.post("/v1/completions", json={"prompt": "the quick", **fields})
    assert response.status_code == 200, response.text
    return response.json()


def stream(client, **fields):
    response = client.post("/v1/completions", json={"prompt": "the quick", "stream": True, **fields})
    assert response.headers["content-type"].startswith("text/event-stream")
    return events(response.text)


def test_a_completion_says_what_was_written_and_counted(client, tokenizer):
    answer = complete(client, prompt=[10, 11], max_tokens=4)
    (choice,) = answer["choices"]
    assert choice["text"] == tokenizer.decode([12, 13, 14, 15], skip_special_tokens=True)
    assert choice["finish_reason"] == "length"
    assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}
    assert answer["object"] == "text_completion"
    assert answer["model"] == "tiny"


def test_sixteen_tokens_are_written_unless_asked_otherwise(client):
    assert complete(client)["usage"]["completion_tokens"] == 16


def test_text_prompts_get_the_tokenizers_special_tokens_and_ids_are_left_alone(client, tokenizer):
    ids = tokenizer.encode("the quick", add_special_tokens=False)
    assert complete(client)["usage"]["prompt_tokens"] == len(ids) + 1
    assert complete(client, add_special_tokens=False)["usage"]["prompt_tokens"] == len(ids)
    assert complete(client, prompt=ids)["usage"]["prompt_tokens"] == len(ids)


@pytest.mark.parametrize("prompt", [["the", "fox"], [[5, 6], [7]]])
def test_many_prompts_are_answered_in_their_order(client, prompt):
    choices = complete(client, prompt=prompt, n=2, max_tokens=3)["choices"]
    alone = [complete(client, prompt=one, max_tokens=3)["choices"][0]["text"] for one in prompt]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    assert [choice["text"] for choice in choices] == [alone[0], alone[0], alone[1], alone[1]]


def test_choices_of_one_prompt_count_it_once(client):
    usage = complete(client, prompt=[[5, 6, 7], [8]], n=3, max_tokens=2)["usage"]
    assert usage == {"prompt_tokens": 4, "completion_tokens": 12, "total_tokens": 16}


def test_a_stream_has_one_event_a_token_and_adds_up_to_the_whole(client):
    chunks = stream(client, max_tokens=6)
    assert len(chunks) == 6
    assert (
        "".join(chunk["choices"][0]["text"] for chunk in chunks) == complete(client, max_tokens=6)["choices"][0]["text"]
    )
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * 5 + ["length"]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert all("usage" not in chunk for chunk in chunks)


def test_usage_comes_in_a_last_chunk_of_its_own_when_asked(client):
    chunks = stream(client, prompt=[5, 6], max_tokens=3, stream_options={"include_usage": True})
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}


def test_continuous_usage_counts_every_token_also_those_without_text(client, tokenizer):
    """Half characters and possible stop strings are written late but counted at once."""
    options = {"continuous_usage_stats": True}
    chunks = stream(client, prompt=[100], max_tokens=100, stop="\x00never", stream_options=options)
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == list(range(1, 101))
    assert "" in [chunk["choices"][0]["text"] for chunk in chunks[:-1]]


def test_chunks_of_many_tokens_stay_one_event(checkpoint):
    with (
        running_server(checkpoint, engine_options={"chunk_tokens": "4"}) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        chunks = stream(client, max_tokens=10, stream_options={"continuous_usage_stats": True})
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks] == [4, 8, 10]


def test_streams_of_many_choices_carry_their_index(client):
    chunks = stream(client, prompt=["the", "fox"], n=2, max_tokens=3)
    texts = dict.fromkeys(range(4), "")
    for chunk in chunks:
        (choice,) = chunk["choices"]
        texts[choice["index"]] += choice["text"]
    whole = complete(client, prompt=["the", "fox"], n=2, max_tokens=3)["choices"]
    assert texts == {choice["index"]: choice["text"] for choice in whole}


def test_a_stop_string_ends_the_text_before_it(client, tokenizer):
    whole = complete(client, prompt=[20], max_tokens=30)["choices"][0]["text"]
    stop = whole[5:7]
    (choice,) = complete(client, prompt=[20], max_tokens=30, stop=[stop, "zzz"])["choices"]
    assert choice["text"] == whole[: whole.index(stop)]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", stop)
    streamed = stream(client, prompt=[20], max_tokens=30, stop=stop)
    assert "".join(chunk["choices"][0]["text"] for chunk in streamed) == choice["text"]


def test_max_tokens_is_cut_to_what_the_context_leaves(checkpoint):
    with (
        running_server(checkpoint, engine_options={"max_model_len": "12"}) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        answer = complete(client, prompt=[5] * 8, max_tokens=1000)
        assert answer["usage"]["completion_tokens"] == 4
        refused = client.post("/v1/completions", json={"prompt": [5] * 12, "max_tokens": 1})
        assert refused.status_code == 400
        error = refused.json()["error"]
        assert error["code"] == "context_length_exceeded"
        assert "12 tokens do not fit" in error["message"]


def test_token_ids_the_model_has_not_are_refused(client, tokenizer):
    for prompt in ([tokenizer.vocabulary], [-1], [5, 10**9]):
        response = client.post("/v1/completions", json={"prompt": prompt})
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "prompt"
    response = client.post("/v1/completions", json={"prompt": "x", "stop_token_ids": [10**9]})
    assert response.json()["error"]["param"] == "stop_token_ids"


def test_a_prompt_without_any_token_is_refused(client):
    response = client.post("/v1/completions", json={"prompt": "", "add_special_tokens": False})
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "prompt: has no tokens"


def test_echo_writes_the_prompt_first(client):
    plain = complete(client, max_tokens=3)["choices"][0]["text"]
    assert complete(client, max_tokens=3, echo=True)["choices"][0]["text"] == "the quick" + plain
    streamed = stream(client, max_tokens=3, echo=True)
    assert streamed[0]["choices"][0]["text"] == "the quick"
    assert "".join(chunk["choices"][0]["text"] for chunk in streamed) == "the quick" + plain


def test_loglikelihood_as_lm_eval_asks_for_it(client, tokenizer):
    """It slices [context:-1] and takes a token for greedy if its value is the largest of its top_logprobs."""
    prompts = [[5, 6, 9], [20, 21, 22, 3]]
    answer = complete(client, prompt=prompts, max_tokens=1, logprobs=1, echo=True, temperature=0, seed=1234)
    for choice, prompt in zip(answer["choices"], prompts, strict=True):
        logprobs = choice["logprobs"]
        assert {len(column) for column in logprobs.values()} == {len(prompt) + 1}
        assert logprobs["token_logprobs"][0] is logprobs["top_logprobs"][0] is None
        assert logprobs["tokens"][:-1] == [tokenizer.token_text(token) for token in prompt]
        for token, value, top in list(
            zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True)
        )[1:]:
            assert top[token] == value
        greedy = [
            v == max(t.values())
            for v, t in zip(logprobs["token_logprobs"][1:-1], logprobs["top_logprobs"][1:-1], strict=True)
        ]
        assert greedy == [after == before + 1 for before, after in pairwise(prompt)]


def test_a_text_is_scored_without_writing_any_token(client):
    answer = complete(client, prompt=[5, 6, 7], max_tokens=0, logprobs=0, echo=True)
    (choice,) = answer["choices"]
    assert len(choice["logprobs"]["token_logprobs"]) == 3
    assert choice["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 0
    scored, end = stream(client, prompt=[5, 6, 7], max_tokens=0, logprobs=0, echo=True)
    assert scored["choices"][0]["logprobs"] == choice["logprobs"]
    assert end["choices"][0]["finish_reason"] == "length"


def test_streamed_logprobs_are_the_whole_ones_in_pieces(client):
    whole = complete(client, max_tokens=5, logprobs=2, echo=True)["choices"][0]["logprobs"]
    joined = {key: [] for key in whole}
    for chunk in stream(client, max_tokens=5, logprobs=2, echo=True):
        for key, column in chunk["choices"][0]["logprobs"].items():
            joined[key] += column
    assert joined == whole


def test_lengths_are_fixed_with_ignore_eos_and_natural_without(checkpoint):
    with (
        running_server(checkpoint, engine_options={"natural_length": "5"}) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        natural, fixed = complete(client, max_tokens=9), complete(client, max_tokens=9, ignore_eos=True)
        longer = complete(client, max_tokens=9, min_tokens=7)
    assert natural["usage"]["completion_tokens"] == 5
    assert natural["choices"][0]["finish_reason"] == "stop"
    assert fixed["usage"]["completion_tokens"] == 9
    assert longer["usage"]["completion_tokens"] == 8


def test_the_served_name_may_be_given(checkpoint):
    with (
        running_server(checkpoint, served_model_name="our-llama") as server,
        httpx.Client(base_url=server.url) as client,
    ):
        assert complete(client, model="our-llama", max_tokens=1)["model"] == "our-llama"
        response = client.post("/v1/completions", json={"prompt": "x", "model": "tiny"})
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


def test_text_that_json_must_escape_survives_the_stream(tmp_path):
    """Quotes, backslashes and control characters are all tokens of a byte-level vocabulary."""
    with running_server(write_checkpoint(tmp_path / "tiny")) as server, httpx.Client(base_url=server.url) as client:
        whole = complete(client, prompt=[2], max_tokens=260)["choices"][0]["text"]
        chunks = stream(client, prompt=[2], max_tokens=260)
    assert '"' in whole
    assert "\\" in whole
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole


@pytest.mark.parametrize("stream", [False, True])
def test_the_engines_times_are_in_the_answer_when_asked_for(client, stream):
    asked = {"prompt": [5, 6], "max_tokens": 5, "stream": stream}
    plain = client.post("/v1/completions", json=asked)
    timed = client.post("/v1/completions", json={**asked, "include_engine_times": True})
    assert "engine_times" not in plain.text
    answer = events(timed.text)[-1] if stream else timed.json()
    times = answer["choices"][0]["engine_times"]
    assert times["queue_s"] == 0
    assert min(times["prefill_s"], times["decode_s"]) > 0


def test_a_choice_ended_by_a_stop_string_has_no_engine_times(client):
    text = client.post("/v1/completions", json={"prompt": [300], "max_tokens": 8}).json()["choices"][0]["text"]
    asked = {"prompt": [300], "max_tokens": 8, "stop": text[1], "include_engine_times": True}
    choice = client.post("/v1/completions", json=asked).json()["choices"][0]
    assert choice["stop_reason"] == text[1]
    assert choice["engine_times"] is None


def test_times_of_an_engine_that_takes_none_are_refused_by_name(checkpoint):
    with running_server(checkpoint) as silent, httpx.Client(base_url=silent.url) as client:
        engine = silent.model.engine
        engine._info = replace(engine.info, reports_times=False)
        answer = client.post("/v1/completions", json={"prompt": [5], "include_engine_times": True})
    assert answer.status_code == 400
    assert "disable_log_stats=false" in answer.json()["error"]["message"]
