"""`[quality] tasks` in a run: asked once of each configuration, after the last trial, and again only where answers lack."""

import json
from pathlib import Path

import pytest

from loadgen.results.store import read_trial
from reports.runs.run_folder import RunFolder
from tests.prunebench.conftest import one_at_a_time, one_width

pytestmark = pytest.mark.slow

EXPERIMENT = f"""{one_width("asked", prefill_ms=2, token_ms=1)}
[protocol]
blocks = 1
[energy]
modelled_watts_per_core = 5
idle_s = 0.2
[quality]
tasks = ["tinyglu_form", "tinyglu_signature"]
limit = 6
{one_at_a_time(2, prompt_tokens=8, output_tokens=8, name="single-request")}"""


def test_every_configuration_is_asked_outside_every_energy_window_and_only_once(prunebench, tmp_path: Path):
    (tmp_path / "asked.toml").write_text(EXPERIMENT)
    done = prunebench("run", "asked.toml", "--output", "out", timeout=500, asks_tasks=True)
    assert done.returncode == 0, done.stderr
    run = RunFolder(tmp_path / "out")
    results = {c.label: run.task_results(c.label) for c in run.configurations()}
    assert {label: [r.task for r in found] for label, found in results.items()} == {
        "width-1024": ["tinyglu_form", "tinyglu_signature"],
        "width-512": ["tinyglu_form", "tinyglu_signature"],
    }
    last = max(read_trial(t.folder).trial.window_end_ns for t in run.trials())
    for found in results.values():
        assert all(r.energy and r.energy.start_ns > last and r.energy.modelled_joules for r in found)
    (report,) = json.loads((tmp_path / "out" / "report.json").read_text())["runs"]
    assert {t["task"] for t in report["quality"]["tasks"]} == {"tinyglu_form", "tinyglu_signature"}

    kept, gone = (tmp_path / "out" / "quality" / "width-512" / f"tinyglu_{name}.json" for name in ("form", "signature"))
    before = kept.stat().st_mtime_ns
    answered = json.loads(gone.read_text())["values"]
    gone.unlink()
    again = prunebench("run", "asked.toml", "--output", "out", "--resume", timeout=500, asks_tasks=True)
    assert again.returncode == 0, again.stderr
    assert kept.stat().st_mtime_ns == before
    assert json.loads(gone.read_text())["values"] == answered


def test_a_task_that_is_none_stops_the_run_before_it_begins(prunebench, tmp_path: Path):
    (tmp_path / "asked.toml").write_text(EXPERIMENT.replace("tinyglu_form", "tinyglu_from"))
    done = prunebench("run", "asked.toml", "--output", "out", asks_tasks=True)
    assert done.returncode == 2
    assert "lm-eval knows no task tinyglu_from; did you mean tinyglu_form" in done.stderr
    assert not (tmp_path / "out" / "checkpoints").exists()
