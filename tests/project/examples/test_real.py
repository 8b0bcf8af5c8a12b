"""`make real`, as far as it goes without a download: its stages, and what is asked of whom."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from base.python_process import python_command
from examples.real.__main__ import (
    STAGES,
    TASK_STAGES,
    ask_whole,
    experiment,
    main,
    task_files,
    tasks_of_all,
)
from examples.real.source import WHEELS
from examples.real.tasks import NLTK_DATA
from prunebench.experiment.resolve import Experiment, load_experiment

TINYGLU = Path(__file__).parents[3] / "examples" / "tinyglu"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What `make real` would have fetched and converted: TinyGLU in the model's place."""
    (tmp_path / "real" / "unpacked" / NLTK_DATA).mkdir(parents=True)
    (tmp_path / "real" / "smollm2").symlink_to(TINYGLU)
    return tmp_path / "real"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six training and two test rows of GSM8K, and no prompt of IFEval's."""
    (tmp_path / "data").mkdir()
    for name, rows in {"gsm8k_train_200": 6, "gsm8k_test": 2}.items():
        lines = [json.dumps({"question": f"{name} {n}?", "answer": f"so #### {n}"}) for n in range(rows)]
        (tmp_path / "data" / f"{name}.jsonl").write_text("\n".join(lines))
    (tmp_path / "data" / "ifeval_input_data.jsonl").write_text("{}")
    return tmp_path / "data"


def know(folder: Path, solved: int, items: int) -> None:
    """Write what the whole model solved of GSM8K, as if it had been asked."""
    share = solved / items
    score = {"metric": "exact_match", "value": share, "standard_error": (share * (1 - share) / (items - 1)) ** 0.5}
    known = {"whole": {"gsm8k_from_files": score | {"items": items, "limit": items, "seconds": 1.0}}}
    (folder / "scores.json").write_text(json.dumps(known))


def test_without_data_the_experiment_has_no_task(folder: Path) -> None:
    assert read_experiment(folder, tasks_of_all(folder, None)[0]).quality.tasks == []


@pytest.mark.parametrize(("solved", "asked"), [(0, False), (2, False), (12, True)])
def test_gsm8k_itself_is_asked_of_all_only_if_the_whole_model_is_above_its_floor(
    folder: Path, data: Path, solved: int, asked: bool
) -> None:
    know(folder, solved, 25)
    made, _ = tasks_of_all(folder, data)
    assert list(made) == ["ifeval", *(["gsm8k"] if asked else []), "gsm8k_answers"]
    read = read_experiment(folder, made)
    assert (read.quality.tasks, read.quality.limit) == ([str(task) for task in made.values()], 100)
    assert [workload.name for workload in read.workloads] == ["single-request", "batch-4"]
    assert json.loads(made["ifeval"].read_text())["doc_to_text"] == "<|user|>{{prompt}}<|end|><|assistant|>"


def test_the_experiment_says_why_it_does_not_ask_gsm8k(folder: Path, data: Path) -> None:
    know(folder, 0, 25)
    text = experiment(*tasks_of_all(folder, data))
    assert "# GSM8K: 0 of 25 by the whole model: at the floor, so the pruned ones are not asked it\ntasks = [" in text


def read_experiment(folder: Path, asked: dict[str, Path]) -> Experiment:
    file = folder / "smollm2.toml"
    file.write_text(experiment(asked))
    return load_experiment(file)


@pytest.mark.parametrize(("solved", "said"), [
    (0, "GSM8K: 0 of 25 by the whole model: at the floor, so the pruned ones are not asked it"),
    (12, "GSM8K: 12 of 25 by the whole model, so all are asked it"),
])  # fmt: skip
def test_the_stage_that_asks_says_whether_the_whole_model_is_above_the_floor(
    folder: Path,
    data: Path,
    solved: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    know(folder, solved, 25)
    monkeypatch.setattr("examples.real.__main__.check", lambda *_: "left out")
    monkeypatch.setattr("sys.argv", ["real", "--folder", str(folder), "--data", str(data), "--until", "ask"])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3] == f"4/{len(TASK_STAGES)} ask: at most {TASK_STAGES['ask']} min"
    assert lines[-2] == said


@pytest.mark.slow
def test_the_whole_model_is_asked_gsm8k_again_where_more_items_are_wanted_and_then_no_more(
    folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lm_eval")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "home"))
    monkeypatch.setattr("examples.real.scores.ENGINE", ("--engine", "transformers", "--engine-option", "dtype=float32"))
    made = task_files(folder, data)
    know(folder, 2, 2)
    above, said = ask_whole(folder, made)
    assert (above, said[:34]) == (False, "GSM8K: 0 of 2 by the whole model: ")
    known = (folder / "scores.json").read_text()
    assert json.loads(known)["whole"]["gsm8k_from_files"]["metric"] == "exact_match"
    monkeypatch.setattr("examples.real.scores.subprocess.run", None)
    assert ask_whole(folder, made)[1] == said


def test_each_stage_says_how_long_it_may_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unpacked").mkdir()
    monkeypatch.setattr("sys.argv", ["real", "--folder", str(tmp_path), "--until", "fetch"])
    main()
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"1/{len(STAGES)} fetch: at most {STAGES['fetch']} min"
    assert said[1].endswith("unpacked")
    assert said[2].startswith("fetch took 0.0 min")


def test_by_default_all_stages_may_take_forty_minutes_in_all() -> None:
    assert sum(STAGES.values()) <= 40


def test_the_stage_that_asks_needs_the_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["real", "--folder", str(tmp_path), "--until", "ask"])
    with pytest.raises(SystemExit):
        main()


def test_every_wheel_is_pinned_to_its_bytes() -> None:
    pins = [line for line in WHEELS.read_text().splitlines() if not line.startswith("#")]
    assert len(pins) == 4
    assert all("==" in line and len(line.partition("--hash=sha256:")[2]) == 64 for line in pins)


SLOW_TO_END = """#!/bin/sh
trap 'sleep 1; touch written; exit 130' INT
touch started
while true; do sleep 0.1; done
"""


def test_after_ctrl_c_the_run_has_the_time_to_write_what_it_has(folder: Path, tmp_path: Path) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text(SLOW_TO_END)
    stand_in.chmod(0o755)
    script = "import sys, pathlib; from examples.real.__main__ import run; *_, sys.executable = sys.argv; run(pathlib.Path(sys.argv[1]), None)"
    with subprocess.Popen(
        python_command("-c", script, f"{folder}", f"{stand_in}"),
        cwd=tmp_path,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while process.poll() is None and not tmp_path.joinpath("started").exists():
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "")
    assert tmp_path.joinpath("written").exists()
