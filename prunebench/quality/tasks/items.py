"""The data sets of the tasks in this folder, for lm-eval's `custom_dataset`; and what the form task asks of an answer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import datasets

from base.lines import split_lines

_SENTENCE = re.compile(r"[A-Z][^\n]*\.")


def load(file: str, **_: Any) -> dict[str, datasets.Dataset]:
    """The items of a JSON Lines file beside this one. lm-eval passes the task's metadata along."""
    lines = split_lines((Path(__file__).parent / file).read_text("utf-8"))
    return {"test": datasets.Dataset.from_list([json.loads(line) for line in lines])}


def in_form(_doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the answer is what was asked: one sentence on one line, with a capital letter and a full stop, and no more."""
    return {"in_form": float(bool(_SENTENCE.fullmatch(results[0].strip())))}
