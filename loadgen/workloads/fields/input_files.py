"""Reading the user's own files: text, lines of JSON, tables. What cannot be is an error that names the file and the line."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from base.lines import split_lines
from loadgen.endpoint import LoadError

_LONGEST_FIELD = 16 * 1024 * 1024  # characters; the csv module's own limit is 128 Ki
_DELIMITERS = ",;\t"
_MOST_TOKENS = 100_000_000


class InputFile:
    """A file named by an option: `flag` and `path` stand in every message. A byte order mark is passed over."""

    def __init__(self, flag: str, path: Path) -> None:
        self.flag, self.path = flag, path

    @property
    def layout(self) -> str:
        """The suffix in lower case; one name for both spellings of JSON lines."""
        suffix = self.path.suffix.lower()
        return ".jsonl" if suffix == ".ndjson" else suffix

    def error(self, what: object, line: int | None = None) -> LoadError:
        """The one line for a user."""
        place = "" if line is None else f" line {line}:"
        return LoadError(f"{self.flag} {self.path}:{place} {what}")

    def text(self) -> str:
        """The whole of it. Raises LoadError for a file that cannot be read or is not UTF-8."""
        content = self.content()
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise self.error(f"is not UTF-8 ({error.reason})", line) from None

    def content(self) -> bytes:
        """Raises LoadError for a file that cannot be read."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise self.error(error.strerror or error) from None

    def sha256(self) -> str:
        """Of the content, in hexadecimal digits."""
        return hashlib.sha256(self.content()).hexdigest()

    def lines(self) -> Iterator[tuple[int, str]]:
        """Number and text of each line that is not blank."""
        for number, line in enumerate(split_lines(self.text()), 1):
            if line.strip():
                yield number, line

    def json_objects(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number and object of each line."""
        for number, line in self.lines():
            found = self.parsed(line, number)
            if not isinstance(found, dict):
                raise self.error("is not a JSON object", number)
            yield number, found

    def parsed(self, text: str, line: int | None = None) -> Any:
        """JSON without NaN, infinities and halves of a character."""
        try:
            found = json.loads(text, parse_constant=_refused)
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise self.error("half of a surrogate pair is no character", line) from None
        except (ValueError, RecursionError) as error:
            raise self.error(f"is not JSON ({error})", line) from None
        return found

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Line number and fields of each row of a table with a header; names without the spaces around them.

        The header says whether commas, semicolons or tabs separate.
        """
        text = self.text()
        header = next((line for line in split_lines(text) if line), "")
        delimiter = max(_DELIMITERS, key=header.count)
        before = csv.field_size_limit(_LONGEST_FIELD)
        try:
            lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
            yield from self._rows(lines)
        except csv.Error as error:
            raise self.error(error, lines.line_num) from None
        finally:
            csv.field_size_limit(before)

    def _rows(self, lines: Any) -> Iterator[tuple[int, dict[str, str]]]:
        names: list[str] | None = None
        for fields in lines:
            if not fields or fields == [""]:
                continue
            if names is None:
                names = [field.strip() for field in fields]
            elif len(fields) != len(names):
                raise self.error(f"has {len(fields)} fields, the header {len(names)}", lines.line_num)
            else:
                yield lines.line_num, dict(zip(names, fields, strict=True))


def token_count(name: str, value: Any) -> int:
    """A number of tokens in a row, in any of the forms of `whole_number`. Raises ValueError that names the column."""
    number = whole_number(name, value)
    if not 0 <= number <= _MOST_TOKENS:
        raise ValueError(f"{name} {value}: must be between 0 and {_MOST_TOKENS:,}")
    return number


def whole_number(name: str, value: Any) -> int:
    """A whole number, also as text (`"10"`) or as a float without a fraction (`374.0`). Raises ValueError that names the column."""
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
        if number.is_integer():
            return int(value) if isinstance(value, int) else int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{name} {value!r}: must be a whole number")


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no number")
