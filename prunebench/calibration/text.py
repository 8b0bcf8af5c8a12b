"""Calibration text: files of plain text, rows or chats as the token ids that the model is run over.

FILE.jsonl (or .ndjson), FILE.json   rows, or a list of rows, each
    {"messages": [{"role": …, "content": …}, …]}         a chat, rendered with the model's template
    {"conversations": [{"from": …, "value": …}, …]}      the same in ShareGPT's form
    {"text": …}
    {"question": …, "answer": …}                         as two lines, "Question: …" and "Answer: …"
    {"prompt": …} with an optional {"completion" or "response": …}
any other FILE                       plain text
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from operator import itemgetter
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from base.lines import split_lines
from pruner.errors import PruneError
from pruner.scoring.calibration import CalibrationFile
from server.settings import ServeError
from server.text.template import ChatTemplate, ChatTemplateError, find_template
from server.text.template_sandbox import OutOfTimeError

SEQUENCE_TOKENS = 512
HELD_OUT_EVERY = 20  # every twentieth item is kept for measuring perplexity
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant"}
_ROLES |= {"bing": "assistant", "bard": "assistant", "system": "system"}


@dataclass(frozen=True)
class TextFile:
    """A file's texts, chats rendered; plain text is one item.

    `contents` are the same without what rendering adds: the turns of chats, the strings of rows, the plain text.
    """

    record: CalibrationFile
    items: list[str]
    contents: list[str]


@dataclass(frozen=True)
class Sequences:
    """Token ids [at most SEQUENCE_TOKENS] a sequence: those that figures are computed over, and those held out."""

    used: list[list[int]]
    held_out: list[list[int]]


def read_files(checkpoint: Path, files: Sequence[Path]) -> list[TextFile]:
    """Every file whole. Raises PruneError naming the file and the row that cannot be used."""
    template = _Template(checkpoint)
    return [_read(path, template) for path in files]


def cut_sequences(checkpoint: Path, files: Sequence[TextFile]) -> Sequences:
    """All of the text, packed; each sequence starts as the tokenizer starts a text, since some families fall apart otherwise.

    Held out is every HELD_OUT_EVERYth item; of a file with fewer items than that, every such sequence, and of a text with
    fewer sequences its last. A text of one sequence has nothing held out. Raises PruneError for one in which no
    token follows another.
    """
    path = checkpoint / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise PruneError(f"--calibration: {path}: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    sample = tokenizer.encode("a")
    start = [token for token, _ in takewhile(itemgetter(1), zip(sample.ids, sample.special_tokens_mask, strict=True))]
    step = SEQUENCE_TOKENS - len(start)
    used: list[list[int]] = []
    held_out: list[list[int]] = []
    for file in files:
        units = [one.ids for one in tokenizer.encode_batch_fast(file.items, add_special_tokens=False)]
        if len(units) < HELD_OUT_EVERY:
            units = _packed(units, step)
        kept = units[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY] or (units[-1:] if len(units) > 1 else [])
        held = {id(unit) for unit in kept}
        used += _packed([unit for unit in units if id(unit) not in held], step)
        held_out += _packed(kept, step)
    if max(map(len, used), default=0) < 2:
        names = ", ".join(file.record.name for file in files)
        tokens = "no more than 1 token" if used else "no text"
        raise PruneError(
            f"--calibration {names}: holds {tokens}; give some ten thousand tokens of what the model is to do"
        )
    return Sequences([start + ids for ids in used], [start + ids for ids in held_out])


def _packed(units: Sequence[list[int]], step: int) -> list[list[int]]:
    ids = [token for unit in units for token in unit]
    return [ids[first : first + step] for first in range(0, len(ids), step)]


class _Template:
    """The checkpoint's chat template, looked for once a chat asks for it."""

    def __init__(self, checkpoint: Path) -> None:
        self._checkpoint = checkpoint
        self._found: ChatTemplate | None = None

    def render(self, messages: list[dict[str, Any]]) -> str:
        """Raises ValueError with the reason."""
        try:
            self._found = self._found or find_template(self._checkpoint)
            if self._found is None:
                raise ValueError(f"is a chat, and {self._checkpoint} has no chat template")
            return self._found.render(messages, add_generation_prompt=False, extra={})
        except (ChatTemplateError, OutOfTimeError, ServeError) as error:
            raise ValueError(f"the chat template refuses it: {error}") from error


def _read(path: Path, template: _Template) -> TextFile:
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise PruneError(f"--calibration {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PruneError(f"--calibration {path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    kinds, items, contents = {"text"}, [text][: bool(text.strip())], [text]
    if is_rows(path):
        kinds, items, contents = set(), [], []
        for number, row in _rows(path, text):
            try:
                kind, item, strings = _item(row, template)
                item.encode()
            except UnicodeEncodeError:
                raise PruneError(
                    f"--calibration {path}: row {number}: half of a surrogate pair is no character"
                ) from None
            except (ValueError, RecursionError) as error:
                raise PruneError(f"--calibration {path}: row {number}: {error}") from error
            if item:
                kinds.add(kind)
                items.append(item)
                contents += strings
    record = CalibrationFile(
        name=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        kind=" and ".join(sorted(kinds)) or "text",
        items=len(items),
    )
    return TextFile(record, items, contents)


def is_rows(path: Path) -> bool:
    """Whether a file of this name holds JSON."""
    return path.suffix.lower() in {".jsonl", ".ndjson", ".json"}


def _rows(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """Rows counted from 1: those of a JSON list, or one a line."""
    number = 0
    try:
        if path.suffix.lower() == ".json":
            rows = json.loads(text)
            yield from enumerate(rows if isinstance(rows, list) else [rows], 1)
            return
        for number, line in enumerate(split_lines(text), 1):
            if line.strip():
                yield number, json.loads(line)
    except (ValueError, RecursionError) as error:
        where = f"row {number}: " if number else ""
        raise PruneError(f"--calibration {path}: {where}not JSON ({error})") from error


def _item(row: Any, template: _Template) -> tuple[str, str, list[str]]:
    """Its kind, text and contents; empty for one that says nothing. Raises ValueError with the reason."""
    if not isinstance(row, dict):
        raise ValueError("is no object")  # noqa: TRY004 - one kind of error for every row that cannot be used
    if "messages" in row or "conversations" in row:
        turns = row["messages"] if "messages" in row else _from_sharegpt(row["conversations"])
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
            raise ValueError("its messages are no list of objects")
        first = next((place for place, turn in enumerate(turns) if turn.get("role") != "assistant"), len(turns))
        turns = turns[first:]
        for number, turn in enumerate(turns, first + 1):
            if lacking := _lacking(turn):
                raise ValueError(f"message {number} has no {lacking}")
        return "chats", template.render(turns) if turns else "", list(strings_of(turns))
    keys = next((keys for keys in (("text",), ("question", "answer"), ("prompt",)) if row.keys() >= set(keys)), None)
    if keys is None:
        raise ValueError("has no messages, conversations, text, prompt, or question and answer")
    answer = next((key for key in ("completion", "response") if key in row), None) if keys == ("prompt",) else None
    names = [*keys, *([answer] if answer else [])]
    parts = [row[key] for key in names]
    if wrong := [key for key, part in zip(names, parts, strict=True) if not isinstance(part, str)]:
        raise ValueError(f"its {wrong[0]} is no string")
    if not any(map(str.strip, parts)):
        return "rows", "", []
    lines = [f"Question: {parts[0]}", f"Answer: {parts[1]}"] if keys == ("question", "answer") else parts
    return "rows", "\n".join(lines) + "\n\n", parts


def _lacking(turn: dict[str, Any]) -> str | None:
    """What templates would print None or nothing for. A turn that calls tools needs no content."""
    if not isinstance(turn.get("role"), str):
        return "role"
    return None if isinstance(turn.get("content"), str | list) or turn.get("tool_calls") else "content"


def strings_of(value: Any) -> Iterator[str]:
    """Every string that a JSON value holds, keys aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings_of(inner)


def _from_sharegpt(turns: Any) -> list[dict[str, str]]:
    try:
        return [{"role": _ROLES[turn["from"]], "content": turn["value"]} for turn in turns]
    except (KeyError, TypeError) as error:
        raise ValueError(f"has a turn without a known from and a value ({error})") from error
