"""Results of earlier runs on this machine, by the sha256 of all that they depend on: ~/.cache/prunebench/quality.

Only what takes long and does not depend on the run is kept: quality tasks, and next tokens against the baseline. A perplexity
is always asked of what is served now.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from base.files import write_record
from base.records import Record
from prunebench.experiment.file import QualitySettings
from pruner.checkpoint.folder import MANIFEST_NAME
from reports.runs.run_folder import read_record

Kind = TypeVar("Kind", bound=Record)
_EVALUATED = {".safetensors", ".json", ".jinja", ".model", ".txt"}


class Reuse:
    """Finds and keeps results, if `quality.reuse` is set; else it finds nothing and keeps nothing."""

    def __init__(self, settings: QualitySettings) -> None:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        self._folder = Path(cache) / "prunebench" / "quality" if settings.reuse else None

    def find(self, key: Mapping[str, Any], kind: type[Kind]) -> Kind | None:
        """The result of the same key, if there is one that can be read."""
        if self._folder is None or not (file := self._file(self._folder, key, kind)).is_file():
            return None
        return read_record(file, kind)

    def keep(self, key: Mapping[str, Any], result: Record) -> None:
        """Save a result under its key."""
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_record(self._file(self._folder, key, type(result)), result)

    @staticmethod
    def _file(folder: Path, key: Mapping[str, Any], kind: type[Record]) -> Path:
        text = json.dumps({"kind": kind.__name__, **key}, sort_keys=True, default=str)
        return folder / f"{hashlib.sha256(text.encode()).hexdigest()}.json"


@functools.cache
def checkpoint_sha256(folder: Path) -> str:
    """Of the weights, the tokenizer and the config of a checkpoint; not of its card, nor of how it was made."""
    found = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in _EVALUATED and file.name != MANIFEST_NAME:
            with file.open("rb") as content:
                found.update(f"{file.name} {hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return found.hexdigest()
