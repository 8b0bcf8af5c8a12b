"""Task scores of pruned models: lm-eval's own tasks, their items from files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from benchmarks.small_model.scores import above_the_floor
from examples.real.tasks import write_tasks
from prunebench.quality.harness import Harness
from prunebench.quality.suites import TaskChoice, choose_suite

pytest.importorskip("lm_eval")


def test_the_tasks_are_lm_evals_own_with_the_items_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for name, rows in {"train": 6, "test": 2}.items():
        lines = [json.dumps({"question": f"{name} {n}?", "answer": f"so #### {n}"}) for n in range(rows)]
        tmp_path.joinpath(f"{name}.jsonl").write_text("\n".join(lines))
    tmp_path.joinpath("ifeval_input_data.jsonl").write_text("{}")
    made = write_tasks(tmp_path / "tasks", tmp_path)
    assert made.keys() == {"ifeval", "gsm8k", "gsm8k_answers"}
    choice = TaskChoice(str(made["gsm8k"]))
    harness, log = Harness(choose_suite([choice.name], chat_template=False), [], None), io.StringIO()
    assert harness.load(choice, log) is None, log.getvalue()
    rows = json.loads(made["gsm8k"].read_text())
    assert Path(rows["include"]).is_file()
    assert rows["dataset_kwargs"]["data_files"] == {name: str(tmp_path / f"{name}.jsonl") for name in ("train", "test")}


def test_pruned_models_are_asked_only_what_the_whole_model_can_do_at_all() -> None:
    assert above_the_floor({"value": 0.10, "standard_error": 0.03})
    assert not above_the_floor({"value": 0.02, "standard_error": 0.014})
