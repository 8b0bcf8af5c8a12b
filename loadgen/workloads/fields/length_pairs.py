"""Lengths of prompts and answers that belong together: pairs in a file, of which each request draws one.

CSV or JSON lines with two columns or keys of the names that published data sets have: `prompt_tokens` and `output_tokens`,
Mooncake's `input_length` and `output_length`, Azure's `ContextTokens` and `GeneratedTokens`, BurstGPT's `Request tokens` and
`Response tokens`. A trace is such a file too; its times are passed over.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loadgen.workloads.fields.input_files import InputFile, token_count

_COLUMNS = (
    ("prompt_tokens", "output_tokens"),
    ("input_length", "output_length"),
    ("ContextTokens", "GeneratedTokens"),
    ("Request tokens", "Response tokens"),
)


@dataclass(frozen=True)
class LengthPairs:
    """(prompt tokens, output tokens) of every row, none of them 0; `notes` says what was left out."""

    pairs: tuple[tuple[int, int], ...]
    notes: tuple[str, ...] = ()

    def draw(self, seed: int, index: int) -> tuple[int, int]:
        """The pair of a request, each row as likely as any other."""
        return random.Random(f"{seed}/lengths/{index}").choice(self.pairs)

    @property
    def longest(self) -> tuple[int, int]:
        """The pair that takes the most context."""
        return max(self.pairs, key=sum)


@functools.cache
def open_pairs(path: Path) -> LengthPairs:
    """All pairs of a file. Raises LoadError naming the file and the line that is none."""
    file = InputFile("--lengths", path)
    found = list(_rows(file))
    pairs = tuple(pair for pair in found if all(pair))
    if not pairs:
        raise file.error("holds no pairs of lengths")
    without = len(found) - len(pairs)
    notes = (f"{without} of {len(found)} rows have no prompt or no output tokens and are left out",) if without else ()
    return LengthPairs(pairs, notes)


def _rows(file: InputFile) -> Iterator[tuple[int, int]]:
    rows = file.rows() if file.layout == ".csv" else file.json_objects()
    for line, row in rows:
        columns = next((each for each in _COLUMNS if set(each) <= set(row)), None)
        if columns is None:
            raise file.error(f"has neither {', nor '.join(map(' and '.join, _COLUMNS))}", line)
        prompt, output = columns
        try:
            yield token_count(prompt, row[prompt]), token_count(output, row[output])
        except ValueError as error:
            raise file.error(error, line) from None
