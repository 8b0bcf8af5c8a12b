"""Recorded traffic: when requests came and how long they were, in the two layouts that are published.

Azure LLM inference traces (CSV): `TIMESTAMP,ContextTokens,GeneratedTokens`, the time as a date with up to seven digits of
a second. Mooncake traces (JSON lines): `timestamp` in milliseconds, `input_length`, `output_length` and `hash_ids`, one for
each 512 tokens of the prompt: requests that begin with the same ids begin with the same text.
"""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loadgen.endpoint import LoadError

BLOCK_TOKENS = 512
_COLUMNS = {"TIMESTAMP", "ContextTokens", "GeneratedTokens"}


@dataclass(frozen=True)
class TraceRow:
    """One request of a trace; `hash_ids` is empty where the trace says nothing of shared prefixes."""

    at_s: float  # after the first
    prompt_tokens: int
    output_tokens: int
    hash_ids: tuple[int, ...] = ()


@functools.cache
def read_trace(path: Path) -> tuple[TraceRow, ...]:
    """All rows, in order of time. Rows without prompt or output have nothing to measure and are left out.

    Raises LoadError naming the file and the line that is not one of a trace.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(_csv_rows(path, file) if path.suffix == ".csv" else _json_rows(path, file))
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(f"--trace {path}: {error.strerror if isinstance(error, OSError) else error}") from None
    rows = sorted((row for row in rows if row.prompt_tokens and row.output_tokens), key=lambda row: row.at_s)
    if not rows:
        raise LoadError(f"--trace {path}: holds no requests")
    first = rows[0].at_s
    return tuple(TraceRow(r.at_s - first, r.prompt_tokens, r.output_tokens, r.hash_ids) for r in rows)


def _csv_rows(path: Path, file: Iterator[str]) -> Iterator[TraceRow]:
    lines = csv.DictReader(file)
    if not set(lines.fieldnames or ()) >= _COLUMNS:
        raise LoadError(f"--trace {path}: a CSV trace has the columns TIMESTAMP, ContextTokens and GeneratedTokens")
    for line in lines:
        try:
            at = datetime.fromisoformat(line["TIMESTAMP"].strip())
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            yield TraceRow(at.timestamp(), int(line["ContextTokens"]), int(line["GeneratedTokens"]))
        except (ValueError, TypeError, AttributeError) as error:
            raise LoadError(f"--trace {path}: line {lines.line_num}: {error}") from None


def _json_rows(path: Path, file: Iterator[str]) -> Iterator[TraceRow]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            ids = tuple(int(i) for i in row.get("hash_ids") or ())
            yield TraceRow(float(row["timestamp"]) / 1e3, int(row["input_length"]), int(row["output_length"]), ids)
        except (ValueError, TypeError, AttributeError, KeyError):
            raise LoadError(
                f"--trace {path}: line {number} lacks timestamp, input_length or output_length (or name it .csv)"
            ) from None
