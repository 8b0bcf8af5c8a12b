"""A TOML file whose errors name the line. tomllib, and tomlkit too, keep no positions: here is the search for a key's line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from base.lines import split_lines
from prunebench.experiment.file import ExperimentError

Location = Sequence[str | int]  # keys and places in lists, as pydantic gives them


@dataclass(frozen=True)
class TomlText:
    """The text of a TOML file, and what it says."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> TomlText:
        """Read and parse a file. Raises ExperimentError for a missing file and for what is not TOML."""
        try:
            found = cls(path, path.read_bytes().decode("utf-8"))
        except OSError as error:
            raise ExperimentError(f"experiment file {path}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise ExperimentError(f"experiment file {path} is not TOML: {error}") from None
        try:
            found.data  # noqa: B018 - parsed now
        except tomllib.TOMLDecodeError as error:
            message = f"{error}"
            if at := re.search(r" \(at line (\d+), column (\d+)\)$", message):
                raise ExperimentError(
                    f"{path}:{at[1]}: is not TOML: {message[: at.start()]} (column {at[2]})"
                ) from None
            raise ExperimentError(f"{path}:{len(split_lines(found.text))}: is not TOML: {message}") from None
        return found

    @cached_property
    def data(self) -> dict[str, Any]:
        """As tomllib reads it."""
        return tomllib.loads(self.text)

    def error(self, location: Location, message: str) -> ExperimentError:
        """An error in one line: file, line, table, key, message."""
        line = self.line_of(location)
        place = f"{self.path}:{line}" if line else f"{self.path}"
        last = max((number for number, part in enumerate(location) if isinstance(part, str)), default=0)
        table, key = (".".join(map(str, parts)) for parts in (location[:last], location[last:]))
        name = f"[{table}] {key}" if table else key or "experiment"
        return ExperimentError(f"{place}: {name}: {message}")

    def present(self, location: Location) -> Location:
        """The part of a location that the file has: pydantic adds the kind that it took a value for."""
        return _present(self.data, location)

    def line_of(self, location: Location) -> int | None:
        """The line, from 1, where the value or its nearest table begins; None if the file holds neither.

        It is the first line of the statement after which the file, read up to there, has the key.
        """
        there = _present(self.data, location)
        lines = split_lines(self.text)
        first = 0
        for end in range(1, len(lines) + 1) if there else ():
            try:
                data = tomllib.loads("\n".join(lines[:end]))
            except tomllib.TOMLDecodeError:  # within a value of several lines
                continue
            if len(_present(data, there)) == len(there):
                return next(number for number in range(first, end) if _says_something(lines[number])) + 1
            first = end
        return None


def _present(data: Any, location: Location) -> list[str | int]:
    """The part of a location that is there."""
    found: list[str | int] = []
    node = data
    for part in location:
        if isinstance(node, str):  # no list of letters
            break
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            break
        found.append(part)
    return found


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")
