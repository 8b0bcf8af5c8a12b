"""The texts: what is calibrated on, and the windows that perplexity is measured on, from other items of both kinds."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from base.lines import split_lines

CHARACTERS = 100_000  # of each kind of calibration text
CALIBRATED, HELD_OUT = (0, 400), (3000, 3200)  # conversations
SEED = 0  # of the places in conversations
WINDOWS, WINDOW_TOKENS = 16, 512
Row = Mapping[str, Any]
Encode = Callable[[str], list[int]]
Windows = dict[str, list[list[int]]]  # kind of text -> token ids


def calibration_rows(chats: Sequence[Row], problems: Iterable[Row]) -> Iterator[Row]:
    """As many characters of each conversation, from a seeded place; then whole problems. Plain, as they are measured.

    Whole conversations, from the first, would be fifteen of four hundred, and what is refitted to them loses more elsewhere.
    """
    places, size = random.Random(SEED), CHARACTERS // len(chats)
    for chat in chats:
        text = chat_text([chat])
        first = places.randrange(max(1, len(text) - size))
        yield {"text": text[first : first + size] + "\n"}
    yield from _until_enough({"text": problem_text([row]) + "\n"} for row in problems)


def write_calibration(file: Path, chats: Sequence[Row], problems: Iterable[Row]) -> Path:
    """The rows as JSONL."""
    file.write_text("".join(json.dumps(row) + "\n" for row in calibration_rows(chats, problems)))
    return file


def chat_text(chats: Iterable[Row]) -> str:
    """What was said, a line break between turns and between conversations: no template, so that any model can be measured."""
    return "\n".join(turn["value"] for chat in chats for turn in chat["conversations"])


def problem_text(problems: Iterable[Row]) -> str:
    """A line for each problem's question and the start of its answer."""
    return "\n".join(f"{row['question']} {row['answer']}" for row in problems)


def windows(text: str, encode: Encode) -> list[list[int]]:
    """The first WINDOWS windows of the text, one after another."""
    ids = encode(text)
    if len(ids) < WINDOWS * WINDOW_TOKENS:
        raise SystemExit(f"{len(ids)} tokens are too few for {WINDOWS} windows of {WINDOW_TOKENS}")
    return [ids[first * WINDOW_TOKENS : (first + 1) * WINDOW_TOKENS] for first in range(WINDOWS)]


def read_problems(file: Path) -> list[Row]:
    """GSM8K's rows."""
    return [json.loads(line) for line in split_lines(file.read_text("utf-8"))]


def _until_enough(rows: Iterable[Row]) -> Iterator[Row]:
    seen = 0
    for row in rows:
        if seen >= CHARACTERS:
            return
        seen += len(row["text"])
        yield row


def held_out(model: Path, chats: Iterable[Row], problems: Iterable[Row]) -> Windows:
    """Both kinds."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    return {"chat": windows(chat_text(chats), encode), "gsm8k": windows(problem_text(problems), encode)}


def cut(model: Path, file: Path) -> list[list[int]]:
    """The calibration file's tokens, as `prunebench` runs them through the model."""
    from prunebench.calibration.text import cut_sequences, read_files

    return cut_sequences(model, read_files(model, [file])).used
