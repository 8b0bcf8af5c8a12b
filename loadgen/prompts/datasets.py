"""Data sets on disk, as Hugging Face's libraries leave them: what `save_to_disk` wrote, or a clone from the hub."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nanoarrow as na
from nanoarrow.ipc import InputStream

from loadgen.endpoint import LoadError
from loadgen.records.parquet import read_rows
from loadgen.workloads.fields.input_files import InputFile

_KINDS = (".arrow", ".parquet", ".jsonl")
_SHARD = re.compile(r"-\d+-of-\d+$")


class Dataset(InputFile):
    """A folder of Arrow, Parquet or JSONL files of one split, or one such file; its rows are objects."""

    @classmethod
    def is_one(cls, path: Path) -> bool:
        """Whether it is read as a data set: a folder, or a file of rows that is no text."""
        return path.is_dir() or path.suffix.lower() in {".arrow", ".parquet"}

    @property
    def layout(self) -> str:
        """That of JSON lines, as which its rows are read."""
        return ".jsonl"

    def error(self, what: object, line: int | None = None) -> LoadError:
        """The one line for a user; `line` is a row's number."""
        place = "" if line is None else f" row {line}:"
        return LoadError(f"{self.flag} {self.path}:{place} {what}")

    def files(self) -> list[Path]:
        """The shards, in order. Raises LoadError unless they are of one split."""
        if not self.path.is_dir():
            return [self.path]
        found = sorted(file for kind in _KINDS for file in self.path.rglob(f"*{kind}"))
        if not found:
            raise self.error("has no .arrow, .parquet or .jsonl file")
        splits = {str(file.relative_to(self.path).parent / _SHARD.sub("", file.stem)) for file in found}
        if len(splits) > 1:
            raise self.error(f"has {', '.join(sorted(splits))}; name a folder or a file of one of them")
        return found

    def sha256(self) -> str:
        """Of the content of all files, in order."""
        digest = hashlib.sha256()
        for file in self.files():
            digest.update(InputFile(self.flag, file).content())
        return digest.hexdigest()

    def json_objects(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number and object of each row, without the keys that are null: a table has every key in every row."""
        number = 0
        for file in self.files():
            try:
                for row in self._read(file):
                    number += 1
                    yield number, _without_nulls(row)
            except (OSError, RuntimeError) as error:
                raise self.error(f"{file.name} cannot be read: {' '.join(str(error).split())}") from None

    def _read(self, file: Path) -> Iterator[dict[str, Any]]:
        if file.suffix == ".jsonl":
            yield from (row for _, row in InputFile(self.flag, file).json_objects())
        elif file.suffix == ".parquet":
            yield from read_rows(file)
        else:
            with InputStream.from_path(file) as stream:
                yield from na.ArrayStream(stream).iter_py()


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value
