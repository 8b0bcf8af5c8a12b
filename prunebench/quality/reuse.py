"""Results of earlier runs and evaluations on this machine, by the sha256 of all that they depend on: ~/.cache/prunebench/quality.

Only what takes long and does not depend on the run is kept: quality tasks, and next tokens against the baseline. A perplexity
is always asked of what is served now.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import prunebench
from base.files import write_record
from base.records import Record
from energy.machine import describe_machine
from prunebench.quality.suites import SHIPPED, TaskChoice
from pruner.checkpoint.folder import MANIFEST_NAME
from reports.runs.records.quality import EvaluationSettings, TaskResult
from reports.runs.run_folder import read_record

Kind = TypeVar("Kind", bound=Record)
_EVALUATED = {".safetensors", ".json", ".jinja", ".model", ".txt"}
_OF_TASKS = {".yaml", ".yml", ".py", ".json", ".jsonl", ".csv", ".txt", ".parquet", ".arrow"}
_OF_MEMORY = "num_gpu_blocks"  # resolved by the memory that was free, and without a part in the answers


class Reuse:
    """Finds and keeps results, if that is `wanted`; else it finds nothing and keeps nothing."""

    def __init__(self, *, wanted: bool) -> None:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        self._folder = Path(cache) / "prunebench" / "quality" if wanted else None

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


@dataclass(frozen=True)
class Evaluated:
    """A checkpoint, and all beside it that decides the answers, time and joules of a task asked of it."""

    checkpoint: Path
    engine: str
    version: str  # of the engine
    dtype: str | None = None
    options: Mapping[str, str] | None = None  # of the engine, as asked
    resolved: Mapping[str, str] | None = None  # as the engine resolved them
    # The rest of how it is served: environment, command, speculative decoding and its draft, limits of the GPUs, the host; by name,
    # without what is not set.
    how: Mapping[str, object] = field(default_factory=dict)
    energy: Sequence[object] = ()  # the source of joules, and the assumption behind modelled ones
    concurrency: int = 1

    def key(self) -> dict[str, Any]:
        """By name; files as their sha256."""
        resolved = {name: value for name, value in (self.resolved or {}).items() if name != _OF_MEMORY}
        return {
            "checkpoint": checkpoint_sha256(self.checkpoint),
            "engine": [prunebench.__version__, self.engine, self.version, self.dtype, self.options or {}, resolved],
            "how": {name: value for name, value in self.how.items() if value},
            "energy": [*self.energy, [meter.name for meter in describe_machine().meters]],
            "concurrency": self.concurrency,
        }


class KnownTasks:
    """The results of quality tasks that are kept, of the same tasks asked with the same settings."""

    def __init__(self, reuse: Reuse, settings: EvaluationSettings, include_paths: Iterable[Path] = ()) -> None:
        self._reuse = reuse
        self._settings = settings
        self._include_paths = list(include_paths)

    def find(self, evaluated: Evaluated, choice: TaskChoice) -> TaskResult | None:
        """What an earlier run got; None if there is none."""
        found = self._reuse.find(self._key(evaluated, choice), TaskResult)
        return None if found is None else found.model_copy(update={"reused": True})

    def keep(self, evaluated: Evaluated, choice: TaskChoice, result: TaskResult) -> None:
        """Save a result, unless it has no scores."""
        if result.scores:
            self._reuse.keep(self._key(evaluated, choice), result)

    def _key(self, evaluated: Evaluated, choice: TaskChoice) -> dict[str, Any]:
        own = Path(choice.name).parent.iterdir() if choice.name.endswith(".yaml") else ()
        given = () if choice.ships else (f for path in self._include_paths for f in path.rglob("*"))
        files = (file for file in (*SHIPPED.iterdir(), *own, *given) if file.suffix in _OF_TASKS and file.is_file())
        task = [choice.file_name, choice.shots, _sha256(files)]
        return evaluated.key() | {"task": task, "settings": self._settings.model_dump(mode="json")}


@functools.cache
def checkpoint_sha256(folder: Path) -> str:
    """Of the weights, the tokenizer and the config of a checkpoint; not of its card, nor of how it was made."""
    return _sha256(file for file in folder.iterdir() if file.suffix in _EVALUATED and file.name != MANIFEST_NAME)


def _sha256(files: Iterable[Path]) -> str:
    """Of files with their names, in whatever folders and order."""
    found = []
    for file in files:
        with file.open("rb") as content:
            found.append(f"{file.name} {hashlib.file_digest(content, 'sha256').hexdigest()}")
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()
