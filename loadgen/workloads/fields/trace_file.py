"""Recorded traffic: when requests came and how long they were, in the layouts that are published.

Azure LLM inference traces (CSV): `TIMESTAMP,ContextTokens,GeneratedTokens`, the time as a date with up to seven digits of
a second. Mooncake traces (JSON lines): `timestamp` in milliseconds, `input_length`, `output_length` and `hash_ids`, one for
each 512 tokens of the prompt: requests that begin with the same ids begin with the same text. Qwen-Bailian traces are like
Mooncake's, with a `chat_id`, seconds and blocks of 16 tokens. BurstGPT (CSV): `Timestamp` in seconds, `Request tokens`,
`Response tokens`, which are 0 where the request failed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from loadgen.workloads.fields.input_files import InputFile, token_count, whole_number

BLOCK_TOKENS = 512
_QWEN_BLOCK_TOKENS = 16
_AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_BURST_GPT = ("Timestamp", "Request tokens", "Response tokens")
_LONGEST_S = 10 * 365 * 86_400.0


@dataclass(frozen=True)
class TraceRow:
    """One request of a trace; `hash_ids` is empty where the trace says nothing of shared prefixes."""

    at_s: float  # after the first
    prompt_tokens: int
    output_tokens: int
    hash_ids: tuple[int, ...] = ()
    block_tokens: int = BLOCK_TOKENS  # of the prompt, that a hash id stands for


@dataclass(frozen=True)
class Trace:
    """All rows, in order of time; `notes` says what was left out or put in order."""

    rows: tuple[TraceRow, ...]
    notes: tuple[str, ...] = ()


@functools.cache
def open_trace(path: Path, block_tokens: int | None = None) -> Trace:
    """All rows; a hash id stands for `block_tokens`, by default what its layout says. Rows without prompt or output have nothing to measure and are left out.

    Raises LoadError naming the file and the line that is not one of a trace.
    """
    file = InputFile("--trace", path)
    found = list(_csv_rows(file) if file.layout == ".csv" else _json_rows(file, block_tokens))
    rows = [row for row in found if row.prompt_tokens and row.output_tokens]
    notes = []
    if len(rows) < len(found):
        notes.append(
            f"{len(found) - len(rows)} of {len(found)} rows have no prompt or no output tokens and are left out"
        )
    if any(later.at_s < earlier.at_s for earlier, later in pairwise(rows)):
        notes.append("rows are not in order of time; they are replayed in order")
        rows.sort(key=lambda row: row.at_s)
    if not rows:
        raise file.error("holds no requests")
    first, last = rows[0].at_s, rows[-1].at_s
    if last - first > _LONGEST_S:
        raise file.error(f"spans {(last - first) / 86_400:,.0f} days")
    moved = (
        TraceRow(row.at_s - first, row.prompt_tokens, row.output_tokens, row.hash_ids, row.block_tokens) for row in rows
    )
    return Trace(tuple(moved), tuple(notes))


def _csv_rows(file: InputFile) -> Iterator[TraceRow]:
    for line, row in file.rows():
        columns = next((each for each in (_AZURE, _BURST_GPT) if set(each) <= set(row)), None)
        if columns is None:
            raise file.error(f"a CSV trace has the columns {' or '.join(map(', '.join, (_AZURE, _BURST_GPT)))}")
        try:
            at, prompt, output = (row[name] for name in columns)
            at_s = _date_s(at.strip()) if columns is _AZURE else _seconds(at)
            yield TraceRow(at_s, token_count(columns[1], prompt), token_count(columns[2], output))
        except ValueError as error:
            raise file.error(error, line) from None


def _date_s(text: str) -> float:
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _json_rows(file: InputFile, block_tokens: int | None) -> Iterator[TraceRow]:
    for line, row in file.json_objects():
        try:
            yield _json_row(row, block_tokens)
        except KeyError:
            raise file.error("lacks timestamp, input_length or output_length (or name it .csv)", line) from None
        except (ValueError, TypeError) as error:
            raise file.error(error, line) from None


def _json_row(row: dict[str, Any], block_tokens: int | None) -> TraceRow:
    """Raises KeyError for a missing key, ValueError or TypeError for a value that cannot be."""
    is_qwen = "chat_id" in row
    at_s = _seconds(row["timestamp"]) / (1 if is_qwen else 1e3)
    prompt, output = (token_count(name, row[name]) for name in ("input_length", "output_length"))
    ids = tuple(whole_number("hash_ids", each) for each in row.get("hash_ids") or ())
    block = block_tokens or (_QWEN_BLOCK_TOKENS if is_qwen else BLOCK_TOKENS)
    if len(ids) > math.ceil(prompt / block):
        raise ValueError(f"{len(ids)} hash_ids, but {prompt} tokens have {math.ceil(prompt / block)} blocks of {block}")
    return TraceRow(at_s, prompt, output, ids, block)


def _seconds(value: Any) -> float:
    at = float(value)
    if not 0 <= at < math.inf:
        raise ValueError(f"timestamp {value}: must not be negative or infinite")
    return at
