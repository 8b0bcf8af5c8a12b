"""`serve` with a real vLLM on the CPU: what it serves, and what is left of it after a signal and after its death.

Two starts, since there are two ends; every other question is asked of one of these servers first.
"""

from __future__ import annotations

import json
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from pruner.prune import prune
from pruner.scoring.targets import Target
from server.serve import EXIT_ENGINE_DIED
from server.settings import ServeSettings
from tests.prunebench.conftest import TINYGLU
from tests.prunebench.quality.test_agreement import assert_agree, evaluated
from tests.server.conftest import wait_until
from tests.server.engines.test_end_to_end import PROMPT, assert_serves_the_checkpoint, model_folder, serving
from tests.vllm.forks import serve

__all__ = ["model_folder"]
pytestmark = [pytest.mark.vllm, pytest.mark.slow]
PROMPTS = ["def read(", "class Parser:\n    ", '"""Return the', "import os\n\nfor name in "]
BLOCKS = 4  # of 128 tokens, vLLM's size on a CPU; the context is 256 tokens long


def test_vllm_serves_what_the_checkpoint_says_and_its_death_ends_the_server(model_folder, forks, tmp_path):
    options = {"dtype": "float32", "disable_log_stats": "false", "num_gpu_blocks_override": str(1 + BLOCKS)}
    with vllm_serving(forks, tmp_path / "log", model_folder, options) as (process, client, files):
        assert_serves_the_checkpoint(client, model_folder)
        assert "vllm:prefix_cache_hits_total" in client.get("/metrics").text
        assert_reports_where_the_time_went(client)
        assert_preemptions_are_counted_once_the_cache_is_too_small(client)
        assert any(file.is_socket() for file in files.rglob("*"))
        assert_death_is_reported_to_everyone(process, client)
        assert process.wait(120) == EXIT_ENGINE_DIED
        assert not any(file.is_socket() for file in files.rglob("*"))
    assert "Exception ignored" not in (tmp_path / "log").read_text()


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    """TinyGLU at half its width."""
    (one,) = prune(TINYGLU, tmp_path_factory.mktemp("pruned"), [Target("width", 512)])
    return one.folder


@pytest.fixture(scope="module")
def by_vllm(pruned, forks, tmp_path_factory):
    """(process, client, folder of its temporary files, log) of a server that the last test ends."""
    options = {"dtype": "float32", "max_model_len": "1024"}
    log = tmp_path_factory.mktemp("vllm") / "log"
    with vllm_serving(forks, log, pruned, options) as served:
        yield *served, log


@pytest.fixture(scope="module")
def by_transformers(pruned):
    with serving(pruned, "transformers", engine_options={"dtype": "float32"}) as served:
        yield served


def test_both_engines_write_the_same_greedy_tokens_of_a_pruned_checkpoint(by_vllm, by_transformers):
    asked = {"prompt": PROMPTS, "max_tokens": 24, "temperature": 0, "logprobs": 0, "ignore_eos": True}
    one, other = (
        served[1].post("/v1/completions", json=asked).raise_for_status() for served in (by_vllm, by_transformers)
    )
    tokens = [[choice["logprobs"]["tokens"] for choice in answer.json()["choices"]] for answer in (one, other)]
    assert len(tokens[0]) == len(PROMPTS)
    assert tokens[0] == tokens[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # lm-eval's imports
def test_both_engines_answer_the_same_questions_alike(by_vllm, by_transformers, pruned, prunebench, tmp_path):
    def answers(client, name):
        model = client.get("/v1/models").json()["data"][0]["id"]
        return evaluated(prunebench, tmp_path / name, client.base_url, "--model", model, "--tokenizer", pruned)

    assert_agree(answers(by_transformers[1], "transformers"), answers(by_vllm[1], "vllm"))


def test_a_signal_ends_vllm_without_leaving_anything_behind(by_vllm):
    """The last test of the file: it ends the server that the others ask."""
    process, _, files, log = by_vllm
    begun = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0
    assert begun
    wait_until(lambda: all(is_over(child) for child in begun))
    assert not any(file.is_socket() for file in files.rglob("*"))
    logged = log.read_text()
    assert "Exception ignored" not in logged
    assert "Traceback" not in logged


def is_over(process):
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextmanager
def vllm_serving(forks, log, folder, options):
    """(process, client, folder of its temporary files) of a server that has its model in vLLM's core."""
    given = {"checkpoint": folder, "engine": "vllm", "port": 0, "engine_options": options}
    with tempfile.TemporaryDirectory() as files:  # a short name, since a socket's path may have 107 characters
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TMPDIR", files)
            patch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
            process = forks.start(log, serve, ServeSettings.model_validate(given).model_dump_json())
        try:
            with httpx.Client(base_url=url_once_ready(process, log), timeout=60) as client:
                yield process, client, Path(files)
        finally:
            process.end()


def url_once_ready(process, log):
    while " ready at " not in log.read_text():
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    return log.read_text().split(" ready at ")[1].split()[0]


def assert_reports_where_the_time_went(client):
    asked = {"prompt": PROMPT, "max_tokens": 5, "ignore_eos": True, "include_engine_times": True}
    (choice,) = client.post("/v1/completions", json=asked).raise_for_status().json()["choices"]
    assert choice["engine_times"]["queue_s"] >= 0
    assert min(choice["engine_times"]["prefill_s"], choice["engine_times"]["decode_s"]) > 0
    metrics = client.get("/metrics").text
    assert 'vllm:request_decode_time_seconds_count{model_name="tiny-llama"} 0.0' not in metrics


def assert_preemptions_are_counted_once_the_cache_is_too_small(client):
    """Two requests at their longest fill the cache."""
    assert preemptions_of(client) == 0
    asked = {"prompt": PROMPT, "max_tokens": 200, "min_tokens": 200, "n": 4, "temperature": 1}
    answer = client.post("/v1/completions", json=asked).raise_for_status().json()
    assert answer["usage"]["completion_tokens"] == 4 * 200
    assert preemptions_of(client) > 0


def preemptions_of(client):
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("vllm:num_preemptions_total{"))


def assert_death_is_reported_to_everyone(process, client):
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
