"""`prunebench init` as a user runs it: what it writes can be run."""

import shutil
from pathlib import Path

import pytest

from energy.machine import describe_machine
from energy.records import MeterInfo
from prunebench.experiment.resolve import load_experiment
from prunebench.experiment.starter import PERCENTAGES, Starter, alignment, context_of
from pruner.inspection import inspect_checkpoint
from pruner.scoring.targets import Target
from server.engines.registry import engines
from tests.prunebench.cli.test_cli import one_line
from tests.prunebench.conftest import TINYGLU


def test_the_file_that_is_written_passes_a_dry_run_and_is_not_overwritten(prunebench, tmp_path: Path):
    shutil.copytree(TINYGLU, tmp_path / "models" / "Tiny GLU")
    done = prunebench("init", "models/Tiny GLU")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "experiment.toml").read_text("utf-8")
    assert 'source = "models/Tiny GLU"' in text
    assert 'name = "Tiny-GLU"' in text
    assert prunebench("run", "experiment.toml", "--dry-run").returncode == 0
    assert "add --force" in one_line(prunebench("init", TINYGLU))
    assert (tmp_path / "experiment.toml").read_text("utf-8") == text
    (tmp_path / "sub").mkdir()
    assert prunebench("init", "models/Tiny GLU", "--output", "sub/x.toml").returncode == 0
    assert load_experiment(tmp_path / "sub" / "x.toml").model.source == tmp_path / "models" / "Tiny GLU"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ftp://127.0.0.1:8000"], "no such checkpoint folder"),
        (["http://127.0.0.1:8000", "nowhere"], "TARGET nowhere: is neither an address"),
        ([], "name a checkpoint"),
        (["nowhere"], "nowhere"),
        ([TINYGLU, "--output", "nowhere/x.toml"], "--output nowhere/x.toml"),
    ],
)
def test_what_no_experiment_can_be_made_of_is_one_line(prunebench, tmp_path: Path, words, said: str):
    assert said in one_line(prunebench("init", *words))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("sources", "name", "labels"),
    [
        (["http://127.0.0.1:8000"], "127.0.0.1-8000", ["127.0.0.1-8000"]),
        (["unix:/run/a.sock", "http://b:9"], "a.sock-vs-b-9", ["a.sock", "b-9"]),
        ([f"{TINYGLU}", "http://127.0.0.1:8000/v1"], "tinyglu-vs-127.0.0.1-8000", ["tinyglu", "127.0.0.1-8000"]),
    ],
)
def test_servers_and_checkpoints_are_compared_by_a_file_with_reasons(prunebench, tmp_path: Path, sources, name, labels):
    done = prunebench("init", *sources)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, f"experiment.toml: {name}"), done.stderr
    experiment = load_experiment(tmp_path / "experiment.toml")
    assert experiment.name == name
    assert [one.label for one in experiment.configurations] == labels
    text = (tmp_path / "experiment.toml").read_text("utf-8")
    assert "the first is the baseline" in text
    assert ("Something to compare it with" in text) == (len(sources) == 1)


@pytest.mark.parametrize("engine", [*engines(), None], ids=lambda engine: engine.name if engine else "none")
@pytest.mark.parametrize("metered", [True, False])
@pytest.mark.parametrize("context", [None, 32, 4096])
def test_whatever_is_found_here_the_file_loads(tmp_path: Path, engine, metered: bool, context: int | None):
    found = inspect_checkpoint(TINYGLU, [Target("percentage", p) for p in PERCENTAGES], multiple_of=64)
    here = describe_machine().model_copy(update={"headline": None, "reason": 'no "driver"\nhere'})
    if metered:
        meter = MeterInfo(source="nvml", domain="gpu", name="gpu 0", device="GPU-0")
        here = here.model_copy(update={"headline": "nvml", "reason": None, "meters": [meter]})
    file = tmp_path / "experiment.toml"
    file.write_text(Starter(f"{TINYGLU}", found, 64, context, engine, here).text(), "utf-8")
    experiment = load_experiment(file)
    assert experiment.serve.engine == (engine.name if engine else "auto")
    assert (experiment.energy.idle_s > 0) == metered
    assert all(w.prompt_tokens + w.output_tokens <= (context or 256) for w in experiment.workloads)


def test_widths_are_aligned_as_coarsely_as_leaves_a_choice():
    assert [alignment(width) for width in (8192, 11008, 1024, 640, 896, 100, 7)] == [128, 128, 64, 16, 16, 1, 1]
    assert context_of({"text_config": {"max_position_embeddings": 64}}) == 64
    assert context_of({}) is None
