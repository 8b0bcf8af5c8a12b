"""The run folder: what `prunebench run` leaves on disk and `prunebench report` reads.

run.json                  RunInfo
experiment.toml           as given           experiment.json   resolved, every default written out
….before-1                what was replaced when a run was resumed with --accept-changes
environment.json          versions, processor, GPUs, git revision; under `hosts` the same of each host of a cluster
checkpoints/              the pruned checkpoints, each with its pruning.json
configurations/LABEL.json ConfigurationInfo  (LABEL is a plain file name)
trials/BLOCK-LABEL-WORKLOAD/  requests.parquet, trial.json, summary.json, power.json, cell.json (CellRecord);
                              appears whole or not at all
trials/….damaged-1            a trial that was set aside by --resume, which measured it again
idle/BLOCK-LABEL-WORKLOAD.json  VisitIdle: idle power around the trials of a visit, WORKLOAD being the first of them; -2 … its later attempts
trials/….records.arrows   beside it, of a trial under way or cut short: the requests that ended; --resume clears it away
failures/BLOCK-LABEL-WORKLOAD.json  FailedCell: what was tried and why it did not work
quality/LABEL/TASK.json   TaskResult     logs/LABEL-quality.log   what lm-eval said
report.html report.md report-plots/ report.json index.json cells.csv cells.parquet cells.json cells.md
run.lock                  held by the runner as long as it lives
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from base.records import Record
from loadgen.records.checksums import find_changed
from reports.errors import ReportError
from reports.runs.records.cells import CellRecord, FailedCell, TrialCell, VisitIdle, sha256_of
from reports.runs.records.configuration import ConfigurationInfo
from reports.runs.records.quality import TaskResult
from reports.runs.records.run import RunInfo

LOCK_NAME = "run.lock"


@dataclass(frozen=True)
class StoredTrial:
    """One finished trial on disk. `verified`: its files match their recorded sha256; False: none is recorded."""

    cell: TrialCell
    folder: Path
    verified: bool = False


R = TypeVar("R", bound=Record)
_SET_ASIDE = re.compile(r".+\.damaged-\d+")


def read_record(file: Path, kind: type[R]) -> R:
    """Read a JSON record. Raises ReportError with one line that names the file and the first mistake."""
    try:
        return kind.model_validate_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ReportError(f"{file}: cannot be read: {describe_error(error)}") from None


def describe_error(error: Exception) -> str:
    """The first mistake, in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{error.title}: {'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}"
    return (isinstance(error, OSError) and error.strerror) or str(error).partition("\n")[0] or type(error).__name__


def open_trial(folder: Path) -> StoredTrial:
    """Open a trial and verify its files. Raises ReportError naming a damaged file."""
    file = folder / "cell.json"
    record = read_record(file, CellRecord)
    if record.sha256 is not None and record.sha256 != sha256_of(json.loads(file.read_bytes())):
        raise ReportError(f"{file}: has changed since it was written: its sha256 differs")
    if not re.fullmatch(f"0*{record.block}-{re.escape(f'{record.label}-{record.workload}')}", folder.name):
        raise ReportError(
            f"{file}: is the trial of block {record.block}, {record.label}, {record.workload}, and does not belong in this folder"
        )
    if changed := find_changed(folder, record.files_sha256 or {}):
        raise ReportError(changed)
    return StoredTrial(record.cell, folder, record.files_sha256 is not None)


@dataclass(frozen=True)
class RunFolder:
    """A run on disk, finished or not: missing files are no error. An unreadable file raises ReportError with its name."""

    path: Path

    def info(self) -> RunInfo:
        """Read run.json."""
        return read_record(self.path / "run.json", RunInfo)

    def environment(self) -> dict[str, Any]:
        """Read environment.json; empty without the file."""
        file = self.path / "environment.json"
        if not file.exists():
            return {}
        try:
            facts = json.loads(file.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise ReportError(f"{file}: cannot be read: {describe_error(error)}") from None
        if not isinstance(facts, dict):
            raise ReportError(f"{file}: cannot be read: it is no JSON object")
        return facts

    def has_runner(self) -> bool:
        """Whether a runner holds the run's lock, in this or another container of the same machine."""
        try:
            with (self.path / LOCK_NAME).open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def configurations(self) -> list[ConfigurationInfo]:
        """Configurations in the order of `RunInfo.labels`, without those that were never started."""
        files = (self.path / "configurations" / f"{label}.json" for label in self.info().labels)
        return [read_record(file, ConfigurationInfo) for file in files if file.exists()]

    def trial_folders(self) -> list[Path]:
        """Folders of finished trials by name, without partial and set-aside ones."""
        folders = sorted(folder for folder in (self.path / "trials").glob("*") if folder.is_dir())
        return [f for f in folders if not f.name.endswith(".partial") and not _SET_ASIDE.fullmatch(f.name)]

    def trials(self) -> Iterator[StoredTrial]:
        """Finished trials, by folder name."""
        return (open_trial(folder) for folder in self.trial_folders())

    def idles(self) -> list[VisitIdle]:
        """Idle power around visits, by file name; every attempt of a visit has a file."""
        return [read_record(file, VisitIdle) for file in sorted((self.path / "idle").glob("*.json"))]

    def task_results(self, label: str) -> list[TaskResult]:
        """The finished quality tasks of a configuration, by name."""
        files = sorted((self.path / "quality" / label).glob("*.json"))
        return [read_record(file, TaskResult) for file in files]

    def failures(self) -> list[FailedCell]:
        """Failed cells, by file name."""
        return [read_record(file, FailedCell) for file in sorted((self.path / "failures").glob("*.json"))]
