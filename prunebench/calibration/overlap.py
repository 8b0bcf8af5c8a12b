"""What a calibration text shares with what quality is measured on: a score on text that was calibrated on flatters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prunebench.calibration.text import TextFile

_SHORTEST = 20  # characters: shorter lines are alike by chance


def shared_lines(files: Sequence[TextFile], measured: Mapping[str, str]) -> list[str]:
    """A warning for each measured text, by name, that has a line in common with the calibration text, spaces aside.

    Of texts whose name ends in .jsonl the strings of every row are compared.
    """
    used = {hash(line) for file in files for item in file.items for line in _lines(item)}
    used |= {hash(line.partition(": ")[2]) for file in files for item in file.items for line in _lines(item)}
    warnings = []
    for name, text in measured.items():
        lines = set(_lines(text) if not name.endswith(".jsonl") else _lines_of_rows(text))
        shared = sum(hash(line) in used for line in lines)
        if shared:
            warnings.append(
                f"{Path(name).name}: {shared} of its {len(lines)} lines are in the calibration text; "
                "quality measured on it flatters what was calibrated"
            )
    return warnings


def _lines(text: str) -> Iterator[str]:
    joined = (" ".join(line.split()) for line in text.splitlines())
    return (line for line in joined if len(line) >= _SHORTEST)


def _lines_of_rows(text: str) -> Iterator[str]:
    for row in text.splitlines():
        yield from (line for found in _strings(json.loads(row)) for line in _lines(found))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)
