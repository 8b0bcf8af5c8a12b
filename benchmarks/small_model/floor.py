"""Whether the whole model does anything at GSM8K: a model that answers nothing scores 0, and no loss shows in a pruned one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from base.files import write_text

_FLOOR_ERRORS = 3.0


def floor(folder: Path, task: Path, limit: int, result: Path) -> str:
    """Whether the score of `folder/smollm2` is three standard errors above 0, in words; it is asked once, and kept in `result`."""
    if not result.exists():
        write_text(result, json.dumps(_score(folder / "smollm2", task, limit), indent=1) + "\n")
    score = json.loads(result.read_text())
    shown = f"GSM8K: the whole model answers {score['value']:.1%} of {score['items']} items"
    if above_the_floor(score):
        return f"{shown}, so it can be asked of the pruned ones: prunebench evaluate CHECKPOINT --tasks {task}"
    return f"{shown}, not {_FLOOR_ERRORS:g} standard errors above none: it can show no loss"


def above_the_floor(score: dict[str, Any]) -> bool:
    """Whether the value is so many standard errors above 0."""
    return bool(score["value"] > _FLOOR_ERRORS * score["standard_error"])


def _score(model: Path, task: Path, limit: int) -> dict[str, Any]:
    """The headline score after five examples, greedily."""
    options = ["--engine", "transformers", "--engine-option", "dtype=float32", "--limit", str(limit), "--json"]
    output = model.with_name("gsm8k-of-the-whole-model")
    command = [sys.executable, "-P", "-m", "prunebench", "evaluate", str(model), "--tasks", str(task), *options]
    command += ["--output", str(output), *(["--resume"] if output.exists() else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    (asked,) = json.loads(done.stdout)["results"]
    score = asked["scores"][0]
    return {key: score[key] for key in ("metric", "value", "standard_error")} | {
        "items": asked["items"],
        "seconds": asked["seconds"],
    }
