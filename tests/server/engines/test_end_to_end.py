"""The real engines behind the real server, on a tiny model: HTTP in, HTTP out, nothing replaced."""

from __future__ import annotations

import signal
from contextlib import contextmanager

import httpx
import pytest

from server.text.tokenizer import Tokenizer
from tests.server.conftest import serve_process, url_once_ready, wait_until, write_checkpoint

PROMPT = "the quick brown fox"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    from tests.server.engines.tiny_model import save_model, tiny_llama_config

    folder = write_checkpoint(tmp_path_factory.mktemp("models") / "tiny-llama")
    return save_model(folder, tiny_llama_config(vocab_size=400, max_position_embeddings=256))


@contextmanager
def serving(folder, engine, **settings):
    process = serve_process(checkpoint=folder, engine=engine, **settings)
    try:
        url = url_once_ready(process)
        with httpx.Client(base_url=url, timeout=60) as client:
            yield process, client
    finally:
        process.terminate()
        process.communicate(timeout=60)


def assert_serves_the_checkpoint(client, folder):
    from tests.server.engines.tiny_model import reference_logprobs, reference_model, reference_tokens

    tokenizer, model = Tokenizer(folder), reference_model(folder)
    prompt = tokenizer.encode(PROMPT, add_special_tokens=True)
    written = reference_tokens(model, prompt, 12)
    asked = {"prompt": PROMPT, "max_tokens": 12, "temperature": 0, "ignore_eos": True}
    answer = client.post("/v1/completions", json=asked).raise_for_status().json()
    text = tokenizer.decode([*prompt, *written], skip_special_tokens=True)
    assert PROMPT + answer["choices"][0]["text"] == text
    usage = {key: count for key, count in answer["usage"].items() if key != "prompt_tokens_details"}
    assert usage == {"prompt_tokens": len(prompt), "completion_tokens": 12, "total_tokens": len(prompt) + 12}

    scored = {"prompt": [prompt], "max_tokens": 1, "logprobs": 1, "echo": True, "temperature": 0}
    found = client.post("/v1/completions", json=scored).raise_for_status().json()["choices"][0]["logprobs"]
    reference = reference_logprobs(model, prompt)
    expected = [reference[at, token].item() for at, token in enumerate(prompt[1:])]
    assert found["token_logprobs"][1:-1] == pytest.approx(expected, abs=1e-3)

    messages = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 5, "ignore_eos": True}
    assert (
        client.post("/v1/chat/completions", json=messages).raise_for_status().json()["usage"]["completion_tokens"] == 5
    )
    assert client.post("/v1/completions", json={"prompt": [5] * 256}).status_code == 400


@pytest.mark.slow
def test_the_transformers_engine_serves_what_the_checkpoint_says(model_folder):
    with serving(model_folder, "transformers", modelled_watts_per_core=7.5) as (process, client):
        before = {row["info"]["source"]: row for row in client.get("/energy").json()["meters"]}
        assert_serves_the_checkpoint(client, model_folder)
        assert client.get("/v1/models").json()["data"][0]["engine"]["name"] == "transformers"
        wait_until(lambda: modelled_joules(client) > before["modelled-cpu"]["joules"])
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=30)
    assert process.returncode == 0
    assert log == "prunebench serve: stopping; running requests have 5 s to finish\n"


def modelled_joules(client):
    (row,) = [row for row in client.get("/energy").json()["meters"] if row["info"]["source"] == "modelled-cpu"]
    assert row["info"]["measured"] is False
    return row["joules"]
