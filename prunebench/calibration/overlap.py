"""What a calibration text shares with what quality is measured on: a score on text that was calibrated on flatters."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from base.lines import split_lines
from prunebench.calibration.text import TextFile, is_rows, strings_of

_SHORTEST = 20  # characters: shorter lines are alike by chance
_LONGEST_NAME = 20  # characters of a speaker before ": ", as in "Question: How many …"


def shared_lines(files: Sequence[TextFile], measured: Mapping[str, str]) -> list[str]:
    """A warning for each measured text, by name, that has a line in common with the calibration text.

    Spaces and a speaker's name before a line are no difference. Chats are compared by what their turns say, rows by their
    strings, on either side.
    """
    texts = chain.from_iterable((*file.items, *file.contents) for file in files)
    used = {hash(form) for line in _lines(texts) for form in _forms(line)}
    warnings = []
    for name, text in measured.items():
        lines = set(_lines(_contents(Path(name), text)))
        shared = sum(any(hash(form) in used for form in _forms(line)) for line in lines)
        if shared:
            warnings.append(
                f"{Path(name).name}: {shared} of its {len(lines)} lines are in the calibration text; "
                "quality measured on it flatters what was calibrated"
            )
    return warnings


def _contents(path: Path, text: str) -> Iterator[str]:
    """The strings of a file of JSON, whose broken lines are taken as they are, or the plain text."""
    rows = [text] if not is_rows(path) or path.suffix.lower() == ".json" else split_lines(text)
    for row in rows:
        try:
            yield from strings_of(json.loads(row)) if is_rows(path) else [row]
        except (ValueError, RecursionError):
            yield row


def _lines(texts: Iterable[str]) -> Iterator[str]:
    joined = (" ".join(line.split()) for text in texts for line in split_lines(text))
    return (line for line in joined if len(line) >= _SHORTEST)


def _forms(line: str) -> list[str]:
    """The line, and what it says without its speaker."""
    name, _, said = line.partition(": ")
    return [line, said] if len(name) <= _LONGEST_NAME and len(said) >= _SHORTEST else [line]
