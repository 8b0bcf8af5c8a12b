from __future__ import annotations

import httpx
import pytest

from tests.server.conftest import events, running_server, write_checkpoint

MESSAGES = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "the quick"}]


def chat(client, **fields):
    response = client.post("/v1/chat/completions", json={"messages": MESSAGES, **fields})
    assert response.status_code == 200, response.text
    return response.json()


def test_messages_go_through_the_checkpoints_template_and_get_no_second_bos(client, tokenizer):
    prompt = tokenizer.encode("<s>[system]be brief\n[user]the quick\n[assistant]", add_special_tokens=False)
    assert prompt[:2].count(0) == 1
    answer = chat(client, max_tokens=3)
    assert answer["usage"]["prompt_tokens"] == len(prompt)
    same = client.post("/v1/completions", json={"prompt": prompt, "max_tokens": 3}).json()
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": same["choices"][0]["text"]}


def test_the_generation_prompt_may_be_left_out(client):
    with_it, without = chat(client, max_tokens=1), chat(client, max_tokens=1, add_generation_prompt=False)
    assert with_it["usage"]["prompt_tokens"] > without["usage"]["prompt_tokens"]


def test_a_stream_begins_with_the_role(client):
    response = client.post("/v1/chat/completions", json={"messages": MESSAGES, "max_tokens": 4, "stream": True})
    role, *content = events(response.text)
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert len(content) == 4
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in content)
    assert text == chat(client, max_tokens=4)["choices"][0]["message"]["content"]
    assert content[-1]["choices"][0]["finish_reason"] == "length"
    assert {chunk["object"] for chunk in content} == {"chat.completion.chunk"}


def test_without_a_limit_the_context_is_filled(checkpoint):
    with (
        running_server(checkpoint, engine_options={"max_model_len": "64"}) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        assert chat(client)["usage"]["total_tokens"] == 64


def test_logprobs_come_as_openais_objects(client, tokenizer):
    content = chat(client, max_tokens=2, logprobs=True, top_logprobs=3)["choices"][0]["logprobs"]["content"]
    assert len(content) == 2
    for entry in content:
        assert len(entry["top_logprobs"]) == 3
        assert entry["top_logprobs"][0]["token"] == entry["token"]
        assert bytes(entry["bytes"]).decode(errors="replace") in {entry["token"], "\ufffd"}
    assert chat(client, max_tokens=1, logprobs=True)["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []
    assert chat(client, max_tokens=1)["choices"][0]["logprobs"] is None


def test_a_checkpoint_without_a_template_says_so(tmp_path):
    with running_server(write_checkpoint(tmp_path / "bare", template=None)) as server:
        response = httpx.post(f"{server.url}/v1/chat/completions", json={"messages": MESSAGES})
    assert response.status_code == 400
    assert "model 'bare' has no chat template" in response.json()["error"]["message"]


def test_what_the_template_refuses_is_reported_in_its_words(client):
    response = client.post("/v1/chat/completions", json={"messages": [{"role": "tool", "content": "x"}]})
    assert response.status_code == 400
    assert response.json()["error"]["message"].endswith("the chat template refused them: no tools here")


@pytest.mark.parametrize("messages", [[], "hi", [{"content": "x"}], None])
def test_messages_must_be_messages(client, messages):
    response = client.post("/v1/chat/completions", json={"messages": messages})
    assert response.status_code == 400
    assert response.json()["error"]["param"].startswith("messages")


def test_a_conversation_longer_than_the_context_is_refused(checkpoint):
    with running_server(checkpoint, engine_options={"max_model_len": "10"}) as server:
        response = httpx.post(f"{server.url}/v1/chat/completions", json={"messages": MESSAGES})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "messages"
