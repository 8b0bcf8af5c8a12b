"""The runs whose results are published: their experiment files, and what is copied of a run folder."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks.small_model.__main__ import MODELS, TASKS, score
from benchmarks.small_model.experiments import HELD_OUT, RUNS, WIDTHS, experiment
from benchmarks.small_model.publishing import PUBLISHED, publish
from prunebench.experiment.resolve import load_experiment
from reports.compare.index_page import build_index

TINYGLU = Path(__file__).parents[3] / "examples" / "tinyglu"
RESULTS = Path(__file__).parents[3] / "results"


@pytest.mark.parametrize("name", RUNS)
def test_each_run_is_an_experiment_that_prunebench_reads(name: str, tmp_path: Path) -> None:
    for checkpoint in ("smollm2", "smollm2-w8a8"):
        (tmp_path / checkpoint).symlink_to(TINYGLU)
    for text in ("calibration.jsonl", *HELD_OUT):
        (tmp_path / text).write_text('{"text": "Hello"}\n')
    file = tmp_path / "run.toml"
    file.write_text(experiment(name, hours=0.25))
    read = load_experiment(file)
    assert read.prune.widths == RUNS[name].widths
    assert read.protocol.max_hours == 0.25
    beside = {"vllm-bfloat16": ["int8"], "transformers": [f"act-refit-{width}" for width in WIDTHS]}
    assert [one.label for one in read.configurations] == beside.get(name, [])


def test_what_is_published_has_no_path_of_the_machine(tmp_path: Path) -> None:
    run = tmp_path / "home" / "runs" / "one"
    run.mkdir(parents=True)
    for name in PUBLISHED:
        (run / name).write_text(f"{sys.executable} run {tmp_path}/home/smollm2 {TINYGLU}")
    (run / "report.md").write_text("## Answer\n\n![width 9: 0.9x better](<report-plots/answer-1.svg>)\n")
    publish(tmp_path / "home", "one", tmp_path / "results", ["run", "one.toml"])
    publish(tmp_path / "home", "one", tmp_path / "results", ["run", "one.toml", "--resume"])
    assert (tmp_path / "results" / "report.html").read_text() == "python run smollm2 examples/tinyglu"
    assert (tmp_path / "results" / "report.md").read_text() == "## Answer\n\n*width 9: 0.9x better*\n"
    said = (tmp_path / "results" / "commands.txt").read_text().splitlines()
    assert [line.partition(": ")[2].rpartition(": ")[2] for line in said] == [
        "prunebench run one.toml", "prunebench run one.toml --resume",
    ]  # fmt: skip
    (run / "report.html").write_text("x" * 1_000_001)
    with pytest.raises(SystemExit, match="1,000,001 bytes"):
        publish(tmp_path / "home", "one", tmp_path / "results", ["run", "one.toml"])


def test_every_published_run_is_small_and_has_its_row_on_the_page_of_runs(tmp_path: Path) -> None:
    runs = sorted(file.parent for file in RESULTS.glob("*/run.json"))
    assert len(runs) >= 4
    assert [file for run in runs for file in run.iterdir() if file.stat().st_size > 1_000_000] == []
    page = build_index(runs, tmp_path / "index.html").read_text("utf-8")
    rows = re.findall(r"<tr data-machine.*?</tr>", page, re.DOTALL)
    assert len(rows) == len(runs)
    assert all('data-model="smollm2"' in row and "For batch work:" in row and "report.html" in row for row in rows)


@pytest.mark.parametrize(("solved", "missing"), [(0, []), (50, ["maw-1383"])])
def test_pruned_models_are_asked_what_the_whole_one_can_do(
    solved: int, missing: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of scores that are known but for the pruned model's GSM8K."""
    labels = ["whole", "maw-1383"]
    for label in labels:
        (tmp_path / MODELS[label]).mkdir(parents=True)
        (tmp_path / MODELS[label] / "config.json").touch()
    known = {"value": 0.5, "standard_error": 0.05, "items": 100, "limit": 100}
    scores = {label: {"gsm8k_answers": known, "ifeval": known} for label in labels}
    scores["whole"]["gsm8k"] = known | {"value": solved / 100}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    asked = []
    monkeypatch.setattr("examples.real.scores._score", lambda model, *_: asked.append(model) or known)
    score(tmp_path, {name: Path(name) for name in TASKS}, labels, 100, tmp_path / "scores.json")
    assert asked == [tmp_path / MODELS[label] for label in missing]
