"""Prompts of the user's own: a file in one of the usual layouts, or one of the three sources of the published study.

    FILE.txt     one prompt a line
    FILE.jsonl   objects with a `prompt` (or `text`) key
    FILE.csv     a column `prompt` (or `text`), or a single column
    FILE.json    ShareGPT: a list of objects with `conversations`, whose first human turn is the prompt
    hellaswag    Rowan/hellaswag, validation: the context, its four endings as A to D, and "Answer:"
    mmlu         cais/mmlu, all, test: the question alone
    ifeval       google/IFEval, train: the instruction

A source may be followed by a folder that holds it, `hellaswag:DIR`, for machines that reach no hub. Files keep their order;
sources are shuffled by the seed, as the study did (arXiv 2512.22671, its `_load_workload_prompts`).
"""

from __future__ import annotations

import csv
import json
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadgen.endpoint import LoadError
from loadgen.prompts import FilePrompts


@dataclass(frozen=True)
class _Source:
    """A data set on the hub and how a row of it becomes a prompt."""

    path: str
    name: str | None
    split: str
    prompt: Callable[[dict[str, Any]], str]


def _hellaswag(row: dict[str, Any]) -> str:
    endings = "".join(f"{letter}. {ending}\n" for letter, ending in zip("ABCD", row["endings"], strict=True))
    return f"{row['ctx']}\n\nWhat happens next?\n{endings}\nAnswer:"


SOURCES = {
    "hellaswag": _Source("Rowan/hellaswag", None, "validation", _hellaswag),
    "mmlu": _Source("cais/mmlu", "all", "test", lambda row: str(row["question"])),
    "ifeval": _Source("google/IFEval", None, "train", lambda row: str(row["prompt"])),
}


def is_source(name: str) -> bool:
    """Whether it names a source and not a file."""
    return name.partition(":")[0] in SOURCES and not Path(name).exists()


def read_prompts(source: str, seed: int = 0) -> FilePrompts:
    """The prompts of a file or source. Raises LoadError naming the file and the line that is no prompt."""
    name, _, folder = source.partition(":")
    if is_source(source):
        return FilePrompts(_read_source(name, folder or None, seed))
    file = Path(source)
    readers = {".jsonl": _json_lines, ".csv": _csv_lines, ".json": _sharegpt}
    try:
        texts = [text for text in readers.get(file.suffix, _text_lines)(file) if text.strip()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LoadError(f"--prompts {file}: {error}") from None
    if not texts:
        raise LoadError(f"--prompts {file}: holds no prompts")
    return FilePrompts(texts)


def _text_lines(file: Path) -> Iterator[str]:
    return iter(file.read_text("utf-8").splitlines())


def _json_lines(file: Path) -> Iterator[str]:
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            text = row["prompt"] if "prompt" in row else row["text"]
        except (ValueError, KeyError, TypeError):
            raise LoadError(f'--prompts {file}: line {number} is not {{"prompt": "…"}}') from None
        yield _string(file, f"line {number}", text)


def _csv_lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines)
        columns = list(rows.fieldnames or ())
        column = next((c for c in ("prompt", "text") if c in columns), columns[0] if len(columns) == 1 else None)
        if column is None:
            raise LoadError(f"--prompts {file}: has no column named prompt, but {', '.join(columns) or 'nothing'}")
        for row in rows:
            yield row[column] or ""


def _sharegpt(file: Path) -> Iterator[str]:
    try:
        conversations = [entry["conversations"] for entry in json.loads(file.read_text("utf-8"))]
    except (ValueError, KeyError, TypeError):
        raise LoadError(f"--prompts {file}: is not a ShareGPT list of objects with conversations") from None
    for number, turns in enumerate(conversations, 1):
        try:
            human = next((turn["value"] for turn in turns if turn["from"] in {"human", "user"}), "")
        except (KeyError, TypeError):
            raise LoadError(f"--prompts {file}: entry {number} has a turn without from and value") from None
        yield _string(file, f"entry {number}", human)


def _string(file: Path, where: str, text: object) -> str:
    if not isinstance(text, str):
        raise LoadError(f"--prompts {file}: {where}: prompt must be a string")
    return text


def _read_source(name: str, folder: str | None, seed: int) -> list[str]:
    try:
        import datasets
    except ImportError:
        raise LoadError(f"--prompts {name}: needs the datasets library; pip install '.[datasets]'") from None
    source = SOURCES[name]
    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every try; we tell how it ended
    try:
        if folder:
            rows = datasets.load_dataset(folder, split=source.split)
        else:
            rows = datasets.load_dataset(source.path, source.name, split=source.split)
        texts = [source.prompt(row) for row in rows]
    except Exception as error:  # noqa: BLE001 - the hub, the disk and the data each raise their own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise LoadError(f"--prompts {name}: {folder or source.path} cannot be read: {reason}") from None
    random.Random(seed).shuffle(texts)
    return texts
