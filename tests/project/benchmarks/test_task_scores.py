"""Task scores of pruned models: lm-eval's own tasks, their items from files."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from examples.real.scores import above_the_floor
from examples.real.tasks import write_tasks
from prunebench.quality.harness import Harness
from prunebench.quality.suites import TaskChoice, choose_suite
from reports.runs.records.quality import TaskResult
from tests.prunebench.command_line import run_command
from tests.prunebench.conftest import TINYGLU

pytest.importorskip("lm_eval")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The tasks of six training and two test rows."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for name, rows in {"train": 6, "test": 2}.items():
        lines = [json.dumps({"question": f"{name} {n}?", "answer": f"so #### {n}"}) for n in range(rows)]
        tmp_path.joinpath(f"{name}.jsonl").write_text("\n".join(lines))
    tmp_path.joinpath("ifeval_input_data.jsonl").write_text("{}")
    return write_tasks(tmp_path / "tasks", tmp_path)


def test_the_tasks_are_lm_evals_own_with_the_items_of_the_files(made: dict[str, Path], tmp_path: Path) -> None:
    assert made.keys() == {"ifeval", "gsm8k", "gsm8k_answers"}
    choice = TaskChoice(str(made["gsm8k"]))
    harness, log = Harness(choose_suite([choice.name], chat_template=False), [], None), io.StringIO()
    assert harness.load(choice, log) is None, log.getvalue()
    rows = json.loads(made["gsm8k"].read_text())
    assert Path(rows["include"]).is_file()
    assert rows["dataset_kwargs"]["data_files"] == {name: str(tmp_path / f"{name}.jsonl") for name in ("train", "test")}


@pytest.mark.slow
def test_the_perplexity_of_the_answers_is_by_byte_and_has_its_items(made: dict[str, Path], tmp_path: Path) -> None:
    words = ["evaluate", str(TINYGLU), "--tasks", str(made["gsm8k_answers"]), "--in-process", "--output", "out"]
    done = run_command(words, tmp_path, 300, asks_tasks=True)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "out").glob("*gsm8k_answers*.json")
    found = TaskResult.model_validate_json(file.read_text())
    perplexity = next(score.value for score in found.scores if score.metric == "byte_perplexity")
    assert found.weights == [len(b" so #### 0"), len(b" so #### 1")]
    assert perplexity == pytest.approx(math.exp(-sum(_log_likelihoods()) / sum(found.weights)), rel=1e-3)
    assert next(score.value for score in found.scores if score.metric == "bits_per_byte") == pytest.approx(
        math.log2(perplexity)
    )


def _log_likelihoods() -> Iterator[float]:
    """Of the two answers after their questions, by transformers."""
    tokenizer = AutoTokenizer.from_pretrained(TINYGLU)
    model = AutoModelForCausalLM.from_pretrained(TINYGLU).eval()
    for n in range(2):
        question = tokenizer(f"Question: test {n}?\nAnswer:", add_special_tokens=False).input_ids
        ids = torch.tensor([tokenizer(f"Question: test {n}?\nAnswer: so #### {n}", add_special_tokens=False).input_ids])
        with torch.inference_mode():
            chances = model(ids).logits[0, :-1].float().log_softmax(-1)
        yield float(chances[range(ids.shape[1] - 1), ids[0, 1:]][len(question) - 1 :].sum())


def test_pruned_models_are_asked_only_what_the_whole_model_can_do_at_all() -> None:
    assert above_the_floor({"value": 0.10, "standard_error": 0.03})
    assert not above_the_floor({"value": 0.02, "standard_error": 0.014})
