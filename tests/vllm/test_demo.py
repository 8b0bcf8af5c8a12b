"""The demo on vLLM."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.results.store import read_trial
from reports.runs.run_folder import RunFolder
from tests.prunebench.commands.test_demo import shortened

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def test_the_demo_runs_on_vllm(prunebench, tmp_path: Path):
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
