"""Writing the run folder that `reports.runs.run_folder` describes: every file appears whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

from base.files import write_bytes, write_folder, write_record, write_text
from base.records import Record
from loadgen.records.schema import Flag
from loadgen.results.result import TrialResult
from loadgen.results.store import write_trial
from prunebench.experiment.file import Experiment, ExperimentError
from prunebench.run.environment import describe_environment
from reports.errors import ReportError
from reports.runs.reading import read_measured
from reports.runs.records.cells import CellRecord, FailedCell, Placement, TrialCell, VisitIdle
from reports.runs.records.configuration import ConfigurationInfo
from reports.runs.records.run import RunInfo
from reports.runs.run_folder import LOCK_NAME, RunFolder, read_record

RECORDS_SUFFIX = ".records.arrows"
_LOCK_S = 1.0  # a process that checks for a runner holds the lock for a moment too


class RunWriter:
    """The one writer of a run folder."""

    def __init__(self, path: Path, checkpoints: Path | None = None) -> None:
        self.path = path
        self.checkpoints = checkpoints or path / "checkpoints"
        self.folder = RunFolder(path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock; the kernel releases it however this process ends. Raises ExperimentError if another runner has it."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / LOCK_NAME).open("w") as file:
            deadline = time.monotonic() + _LOCK_S
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise ExperimentError(f"--output {self.path}: another prunebench is writing to it") from None
                    time.sleep(0.05)
            yield

    def check_new(self) -> None:
        """Raises ExperimentError if the folder already holds a run."""
        if (self.path / "run.json").exists():
            raise ExperimentError(f"--output {self.path} already holds a run; add --resume to continue it")

    def create(self, experiment: Experiment, text: str) -> None:
        """Start a folder with the text of its experiment file. Raises ExperimentError if it already holds a run."""
        self.check_new()
        self.make_folders()
        write_text(self.path / "experiment.toml", text)
        write_text(self.path / "environment.json", json.dumps(describe_environment(), indent=1) + "\n")
        self.write("experiment.json", experiment)  # written last: its presence marks a run that can be resumed

    def make_folders(self) -> None:
        """Make the subfolders."""
        for name in ("configurations", "trials", "idle", "failures", "logs", "quality"):
            (self.path / name).mkdir(parents=True, exist_ok=True)

    def begun(self) -> RunInfo | None:
        """The run as an earlier attempt left it; None for one that has not been started."""
        return self.folder.info() if (self.path / "run.json").is_file() else None

    def write(self, name: str, record: Record) -> None:
        """Write one record as JSON, by rename."""
        write_record(self.path / name, record)

    def write_configuration(self, info: ConfigurationInfo) -> None:
        """Save the facts of a configuration."""
        self.write(f"configurations/{info.label}.json", info)

    def write_idle(self, idle: VisitIdle) -> None:
        """Save or complete the idle power around a visit."""
        self.write(f"idle/{idle.file_name}", idle)

    def new_idle(self, idle: VisitIdle) -> VisitIdle:
        """Start the next attempt at a visit; the figures of an earlier one stay, since they may belong to other cells."""
        while (self.path / "idle" / idle.file_name).exists():
            idle = idle.model_copy(update={"attempt": idle.attempt + 1})
        self.write_idle(idle)
        return idle

    def stored_configurations(self) -> dict[str, ConfigurationInfo]:
        """What an earlier attempt wrote, by label."""
        files = sorted((self.path / "configurations").glob("*.json"))
        infos = (read_record(file, ConfigurationInfo) for file in files)
        return {info.label: info for info in infos}

    def has_trial(self, cell: TrialCell) -> bool:
        """Whether the cell is finished: a folder under its name is a whole trial."""
        return self._trial_folder(cell).exists()

    def damage(self, cell: TrialCell) -> str | None:
        """What is wrong with a finished cell's files: one line that names one of them, or None."""
        try:
            read_measured(self._trial_folder(cell))
        except ReportError as error:
            return f"{error}"
        return None

    def set_aside(self, cell: TrialCell) -> Path:
        """Rename a damaged cell's folder, so that the cell is measured again; returns the new path."""
        return rename_aside(self._trial_folder(cell), "damaged")

    def records_file(self, cell: TrialCell) -> Path:
        """The file of records beside a trial's future folder: written as requests end, removed when the trial is whole."""
        folder = self._trial_folder(cell)
        return folder.with_name(folder.name + RECORDS_SUFFIX)

    def broken_off(self) -> list[Path]:
        """The files of records of trials under way or cut short."""
        return sorted((self.path / "trials").glob(f"*{RECORDS_SUFFIX}"))

    def write_trial(self, cell: TrialCell, result: TrialResult, flags: list[Flag]) -> None:
        """Save a finished trial; an earlier failure of the cell is removed."""
        write_trial(self._trial_folder(cell), result, flags, partial(_seal, cell))
        (self.path / "failures" / f"{cell_name(cell)}.json").unlink(missing_ok=True)

    def write_failure(self, cell: TrialCell, error: str) -> None:
        """Save the cause; `--resume` tries the cell again."""
        failed = FailedCell(block=cell.block, label=cell.label, workload=cell.workload, error=error)
        self.write(f"failures/{cell_name(cell)}.json", failed)

    def take_in(self, files: Mapping[str, bytes], placement: Placement) -> None:
        """Save the files of a run folder elsewhere: `files` by their paths in it, trials complete."""
        trials: dict[str, dict[str, bytes]] = {}
        for name, content in files.items():
            path = PurePosixPath(name)
            if path.parts[0] == "trials":
                trials.setdefault(path.parts[1], {})[path.name] = content
            else:
                (self.path / path.parent).mkdir(parents=True, exist_ok=True)
                write_bytes(self.path / path, content)
        for name, parts in trials.items():
            record = CellRecord.model_validate_json(parts["cell.json"])
            cell = record.cell.model_copy(update={"placement": placement})
            parts |= {file: text.encode() for file, text in _seal(cell, record.files_sha256).items()}
            write_folder(self.path / "trials" / name, partial(_fill, parts))
            (self.path / "failures" / f"{name}.json").unlink(missing_ok=True)

    def add_host(self, name: str, facts: Mapping[str, Any]) -> None:
        """Save the environment of a host of a cluster beside that of the runner's machine."""
        environment = self.folder.environment()
        environment.setdefault("hosts", {})[name] = facts
        write_text(self.path / "environment.json", json.dumps(environment, indent=1) + "\n")

    def quality_folder(self, label: str) -> Path:
        """The folder of a configuration's results of quality tasks."""
        return self.path / "quality" / label

    def answers(self, label: str) -> dict[str, bytes]:
        """A configuration's results of quality tasks, by their paths in the run folder."""
        files = sorted(self.quality_folder(label).glob("*.json"))
        return {file.relative_to(self.path).as_posix(): file.read_bytes() for file in files}

    def _trial_folder(self, cell: TrialCell) -> Path:
        return self.path / "trials" / cell_name(cell)


def rename_aside(path: Path, why: str) -> Path:
    """To NAME.WHY-N, the first that is free."""
    names = (path.with_name(f"{path.name}.{why}-{number}") for number in count(1))
    return path.rename(next(name for name in names if not name.exists()))


def _seal(cell: TrialCell, files_sha256: Mapping[str, str] | None) -> dict[str, str]:
    return {"cell.json": CellRecord.sealed(cell, files_sha256).model_dump_json(indent=1) + "\n"}


def _fill(files: Mapping[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def cell_name(cell: TrialCell) -> str:
    """The plain file name of a cell."""
    return f"{cell.block:03d}-{cell.label}-{cell.workload}"
