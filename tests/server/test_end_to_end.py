"""The real engines behind the real server, on a tiny model: HTTP in, HTTP out, nothing replaced."""

from __future__ import annotations

import json
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from server.serve import EXIT_ENGINE_DIED
from server.text.tokenizer import Tokenizer
from tests.server.conftest import serve_process, url_once_ready, wait_until, write_checkpoint

PROMPT = "the quick brown fox"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    from tests.server.tiny_model import save_model, tiny_llama_config

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
    from tests.server.tiny_model import reference_logprobs, reference_model, reference_tokens

    tokenizer, model = Tokenizer(folder), reference_model(folder)
    prompt = tokenizer.encode(PROMPT, add_special_tokens=True)
    written = reference_tokens(model, prompt, 12)
    asked = {"prompt": PROMPT, "max_tokens": 12, "temperature": 0, "ignore_eos": True}
    answer = client.post("/v1/completions", json=asked).raise_for_status().json()
    text = tokenizer.decode([*prompt, *written], skip_special_tokens=True)
    assert PROMPT + answer["choices"][0]["text"] == text
    assert answer["usage"] == {"prompt_tokens": len(prompt), "completion_tokens": 12, "total_tokens": len(prompt) + 12}

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
        _, told = process.communicate(timeout=30)
    assert process.returncode == 0
    assert told == "prunebench serve: stopping; running requests have 5 s to finish\n"


def modelled_joules(client):
    (row,) = [row for row in client.get("/energy").json()["meters"] if row["info"]["source"] == "modelled-cpu"]
    assert row["info"]["measured"] is False
    return row["joules"]


@pytest.mark.slow
@pytest.mark.vllm
def test_vllm_serves_what_the_checkpoint_says_and_its_death_ends_the_server(model_folder, monkeypatch):
    options = {"dtype": "float32", "disable_log_stats": "false"}
    with temporary_files(monkeypatch) as files, serving(model_folder, "vllm", engine_options=options) as served:
        process, client = served
        assert_serves_the_checkpoint(client, model_folder)
        assert "vllm:prefix_cache_hits_total" in client.get("/metrics").text
        assert_tells_where_the_time_went(client)
        assert any(file.is_socket() for file in files.rglob("*"))
        assert_death_is_told_to_everyone(process, client)
        _, told = process.communicate(timeout=60)
        assert not any(file.is_socket() for file in files.rglob("*"))
    assert process.returncode == EXIT_ENGINE_DIED
    assert "Exception ignored" not in told


@pytest.mark.slow
@pytest.mark.vllm
def test_a_signal_ends_vllm_without_leaving_anything_behind(model_folder, monkeypatch):
    options = {"dtype": "float32"}
    with temporary_files(monkeypatch) as files, serving(model_folder, "vllm", engine_options=options) as served:
        process, _ = served
        begun = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert begun
        wait_until(lambda: all(is_over(child) for child in begun))
        assert not any(file.is_socket() for file in files.rglob("*"))
    assert process.returncode == 0
    assert "Exception ignored" not in told
    assert "Traceback" not in told


def is_over(process):
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextmanager
def temporary_files(monkeypatch):
    """The folder where what is started now puts them: a short one, since a socket's path may have 107 characters."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


def assert_tells_where_the_time_went(client):
    asked = {"prompt": PROMPT, "max_tokens": 5, "ignore_eos": True, "include_engine_times": True}
    (choice,) = client.post("/v1/completions", json=asked).raise_for_status().json()["choices"]
    assert choice["engine_times"]["queue_s"] >= 0
    assert min(choice["engine_times"]["prefill_s"], choice["engine_times"]["decode_s"]) > 0
    metrics = client.get("/metrics").text
    assert 'vllm:request_decode_time_seconds_count{model_name="tiny-llama"} 0.0' not in metrics


def assert_death_is_told_to_everyone(process, client):
    """Kill vLLM's processes while a stream and a request without one are in flight."""
    asked = {"prompt": PROMPT, "max_tokens": 200, "ignore_eos": True, "n": 16}
    with (
        ThreadPoolExecutor(1) as pool,
        client.stream("POST", "/v1/completions", json={**asked, "stream": True}) as told,
    ):
        lines = told.iter_lines()
        assert next(lines).startswith("data: ")
        whole = pool.submit(client.post, "/v1/completions", json=asked)
        wait_until(lambda: load_of(client) > 16)
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        last = [line for line in lines if line][-1]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_dead"
        assert whole.result().status_code == 503
        assert client.get("/health").status_code == 503


def load_of(client):
    """Requests in the engine, running or waiting."""
    return sum(
        float(line.rpartition(" ")[2])
        for line in client.get("/metrics").text.splitlines()
        if line.startswith(("vllm:num_requests_running{", "vllm:num_requests_waiting{"))
    )
