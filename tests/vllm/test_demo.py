"""The demo on vLLM."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from loadgen.results.store import read_trial
from prunebench.servers.process import ServerCommand, start_server
from reports.runs.run_folder import RunFolder
from tests.prunebench.commands.test_demo import shortened

PROMPTS = ["def read(", "class Parser:\n    ", '"""Return the', "import os\n\nfor name in "]
pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def greedy(checkpoint: Path, engine: str, logs: Path) -> list[list[int]]:
    """What an engine serves greedily in fp32, as token ids of the text it gives."""
    server = start_server(
        ServerCommand(checkpoint, "served", engine, {"dtype": "float32", "max_model_len": "256"}, None),
        logs / f"{engine}.log",
        start_timeout_s=240,
        request_timeout_s=60,
    )
    try:
        with httpx.Client(base_url=server.endpoint.url, timeout=60, trust_env=False) as client:
            asked = {"prompt": PROMPTS, "max_tokens": 24, "temperature": 0, "logprobs": 0, "ignore_eos": True}
            answer = client.post("/v1/completions", json=asked).raise_for_status().json()
        return [choice["logprobs"]["tokens"] for choice in answer["choices"]]
    finally:
        server.stop()


def test_the_demo_runs_on_vllm_and_both_engines_write_the_same_greedy_tokens(prunebench, tmp_path: Path):
    done = prunebench("run", shortened("demo-vllm.toml", tmp_path), "--output", "out", timeout=600)
    assert done.returncode == 0, done.stderr
    run = RunFolder(tmp_path / "out")
    baseline, pruned = run.configurations()
    assert (baseline.width, pruned.width) == (1024, 512)
    assert baseline.engine == pruned.engine == "vllm"
    assert baseline.quality
    assert pruned.quality
    assert baseline.quality.perplexity < pruned.quality.perplexity
    trials = list(run.trials())
    assert len(trials) == 4
    # vLLM binds its worker to all cores but one, and the client keeps off them.
    assert {read_trial(stored.folder).trial.client.cores for stored in trials} == {1}
    assert greedy(Path(pruned.checkpoint), "vllm", tmp_path) == greedy(
        Path(pruned.checkpoint), "transformers", tmp_path
    )
