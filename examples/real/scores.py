"""Task scores of the models that were pruned, asked of one at a time on the transformers engine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from base.files import write_text

_FLOOR_ERRORS = 3.0
ENGINE = ("--engine", "transformers", "--engine-option", "dtype=float32", "--engine-option", "max_model_len=2048")


def ask(
    models: Mapping[str, Path],
    tasks: Sequence[Path],
    limit: int,
    results: Path,
    *,
    folder: Path,
    environment: Mapping[str, str],
) -> dict[str, Any]:
    """Every task of every model, by label and task: score, standard error, items, the limit they were asked with, seconds.

    `results` has the scores, written after each task: one of as many items is not asked again. `folder` has the answers.
    """
    known: dict[str, Any] = json.loads(results.read_text()) if results.exists() else {}
    for label, model in models.items():
        for task in tasks:
            if not _enough(known.get(label, {}).get(task.stem), limit):
                score = _score(model, task, limit, folder / f"{label}-{task.stem}-{limit}", environment)
                known[label] = known.get(label, {}) | {task.stem: score}
                write_text(results, json.dumps(known, indent=1) + "\n")
                print(f"{label}, {task.stem}: {score['value']:.4g} ± {score['standard_error']:.2g}", flush=True)
    return known


def above_the_floor(score: Mapping[str, Any]) -> bool:
    """Whether the value is more than `_FLOOR_ERRORS` standard errors above 0: a model that answers nothing can show no loss."""
    return bool(score["value"] > _FLOOR_ERRORS * score["standard_error"])


def _enough(score: Mapping[str, Any] | None, limit: int) -> bool:
    """Whether it is of so many items, or of all that the task has."""
    if score is None:
        return False
    asked = score.get("limit", score["items"])  # older files lack it
    return bool(asked >= limit or score["items"] < asked)


def _score(model: Path, task: Path, limit: int, output: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """The headline score."""
    command = [sys.executable, "-P", "-m", "prunebench", "evaluate", str(model), "--tasks", str(task), *ENGINE]
    command += ["--limit", str(limit), "--json", "--output", str(output), *(["--resume"] if output.exists() else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    (asked,) = json.loads(done.stdout)["results"]
    score = asked["scores"][0]
    return {key: score[key] for key in ("metric", "value", "standard_error")} | {
        "items": asked["items"],
        "limit": limit,
        "seconds": asked["seconds"],
    }
