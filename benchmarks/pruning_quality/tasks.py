"""Task scores of SmolLM2-135M-Instruct, whole and pruned: IFEval, and GSM8K where the whole model is above the floor.

    python -P -m benchmarks.pruning_quality.tasks --data FOLDER --output tasks.json       hours on two cores; it says how long each took
    python -P -m benchmarks.pruning_quality.tasks --data FOLDER --methods maw --limit 20 --output tasks.json

FOLDER holds ifeval_input_data.jsonl, gsm8k_test.jsonl (or test.jsonl) and gsm8k_train_200.jsonl (or train.jsonl). lm-eval asks
its own tasks of a server, `prunebench evaluate` and greedy answers: IFEval through the chat template, the first --limit prompts;
GSM8K after five examples. A model that answers nothing scores 0 on GSM8K: it is asked of pruned models only if the whole
model's score is three standard errors above that. IFEval's floor is not 0, since any text satisfies some instructions: read
each score beside those of the widths that lost the most. Figures are written after each task; what --output has is not asked
again. The text that is calibrated on, and --folder, are those of `benchmarks.pruning_quality`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from base.files import write_text
from benchmarks.pruner import machine
from benchmarks.pruning_quality.__main__ import calibration_file
from benchmarks.pruning_quality.methods import METHODS, PERCENTAGES, run
from examples.real import source
from examples.real.tasks import NLTK_DATA, write_tasks

DEFAULT_METHODS = ("maw", "act, one-shot refit")
_FLOOR_ERRORS = 3.0


def main() -> None:
    """Write the JSON, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with IFEval's prompts and GSM8K's rows")
    parser.add_argument("--folder", type=Path, default=Path("pruning-quality"), help="what is fetched and made")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(DEFAULT_METHODS), metavar="METHOD")
    parser.add_argument("--limit", type=int, default=100, help="items a task")
    parser.add_argument("--engine", default="vllm", help="what serves the models")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    made = write_tasks(folder / "tasks", options.data.resolve())
    tasks = {name: made[name] for name in ("ifeval", "gsm8k")}
    figures: dict[str, Any] = json.loads(options.output.read_text()) if options.output.exists() else {"scores": {}}
    figures |= {"machine": machine(), "limit": options.limit, "engine": options.engine}
    for name, model in _models(folder, options.data, options.methods):
        scores = figures["scores"].setdefault(name, {})
        for task, file in tasks.items():
            if task in scores or (task == "gsm8k" and not above_the_floor(figures["scores"]["whole"].get(task))):
                continue
            scores[task] = _ask(model, file, options.engine, options.limit, folder)
            print(name, task, scores[task], flush=True)
            write_text(options.output, json.dumps(figures, indent=1) + "\n")
    print(table(figures))


def above_the_floor(score: dict[str, Any] | None) -> bool:
    """Whether the whole model does anything at a task whose floor is 0; it is asked first, without a score yet."""
    return score is None or score["value"] > _FLOOR_ERRORS * score["standard_error"]


def table(figures: dict[str, Any]) -> str:
    """A row a model."""
    lines = [f"{'model':28}{'task':>8}{'score':>16}{'seconds':>10}"]
    for name, tasks in figures["scores"].items():
        for task, score in tasks.items():
            shown = f"{score['value']:.3f} ± {score['standard_error']:.3f}"
            lines.append(f"{name:28}{task:>8}{shown:>16}{score['seconds']:10.0f}")
    return "\n".join(lines)


def _models(folder: Path, data: Path, methods: list[str]) -> Iterator[tuple[str, Path]]:
    unpacked = source.fetch(folder)
    model = source.convert(unpacked, folder / "smollm2")
    yield "whole", model
    text = calibration_file(folder, unpacked, data)
    for method in methods:
        made = folder / "scored" / method.replace(",", "").replace(" ", "-")
        if not made.exists():
            made.parent.mkdir(exist_ok=True)
            run(METHODS[method], model, made, text, [])
        widths = sorted(made.glob("width-*"), key=lambda one: -int(one.name.removeprefix("width-")))
        for percentage, one in zip(PERCENTAGES, widths, strict=True):
            yield f"{method}, {percentage} %", one


def _ask(model: Path, task: Path, engine: str, limit: int, folder: Path) -> dict[str, Any]:
    """The headline score of one task."""
    options = ["--engine", engine, "--limit", str(limit), "--json"] + (
        ["--chat-template"] if "ifeval" in task.name else []
    )
    if engine == "vllm":
        options += ["--engine-option", "max_model_len=4096"]
    output = folder / "evaluations" / f"{model.parent.name}-{model.name}-{task.stem}"
    command = [sys.executable, "-P", "-m", "prunebench", "evaluate", str(model), "--tasks", str(task), *options]
    command += ["--output", str(output), *(["--resume"] if output.exists() else [])]
    done = subprocess.run(
        command, env=os.environ | {"NLTK_DATA": str(folder / "unpacked" / NLTK_DATA)}, stdout=subprocess.PIPE, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    (result,) = json.loads(done.stdout)["results"]
    score = result["scores"][0]
    return {key: score[key] for key in ("metric", "value", "standard_error")} | {
        "items": result["items"],
        "seconds": result["seconds"],
    }


if __name__ == "__main__":
    main()
