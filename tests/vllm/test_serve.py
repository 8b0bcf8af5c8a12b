"""`serve` with a real vLLM on the CPU: what it serves, and what is left of it after a signal and after its death."""

from __future__ import annotations

import json
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from server.serve import EXIT_ENGINE_DIED
from tests.server.conftest import wait_until
from tests.server.engines.test_end_to_end import PROMPT, assert_serves_the_checkpoint, model_folder, serving

__all__ = ["model_folder"]
pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def test_vllm_serves_what_the_checkpoint_says_and_its_death_ends_the_server(model_folder, monkeypatch):
    options = {"dtype": "float32", "disable_log_stats": "false"}
    with temporary_files(monkeypatch) as files, serving(model_folder, "vllm", engine_options=options) as served:
        process, client = served
        assert_serves_the_checkpoint(client, model_folder)
        assert "vllm:prefix_cache_hits_total" in client.get("/metrics").text
        assert_tells_where_the_time_went(client)
        assert any(file.is_socket() for file in files.rglob("*"))
        assert_death_is_told_to_everyone(process, client)
        _, logged = process.communicate(timeout=60)
        assert not any(file.is_socket() for file in files.rglob("*"))
    assert process.returncode == EXIT_ENGINE_DIED
    assert "Exception ignored" not in logged


def test_a_signal_ends_vllm_without_leaving_anything_behind(model_folder, monkeypatch):
    options = {"dtype": "float32"}
    with temporary_files(monkeypatch) as files, serving(model_folder, "vllm", engine_options=options) as served:
        process, _ = served
        begun = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        _, logged = process.communicate(timeout=60)
        assert begun
        wait_until(lambda: all(is_over(child) for child in begun))
        assert not any(file.is_socket() for file in files.rglob("*"))
    assert process.returncode == 0
    assert "Exception ignored" not in logged
    assert "Traceback" not in logged


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
        client.stream("POST", "/v1/completions", json={**asked, "stream": True}) as response,
    ):
        lines = response.iter_lines()
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
