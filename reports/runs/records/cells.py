"""The cells of a run, where each was measured and what became of it, and the idle power around a visit's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from base.records import Record
from energy.records import IdleWindow


class Placement(Record):
    """Where a trial of a run on several machines was measured."""

    host: str  # its name, for people
    boot_id: str  # of the host's kernel boot: the same in all containers of one machine, and in no other
    kind: str  # "AMD EPYC 9B14, NVIDIA H100 80GB HBM3": hosts of one kind may be compared
    gpus: list[str] = []  # UUIDs of the GPUs that the trial used
    beside: list[str] = []  # other parts of this run on the host at the same time


class TrialCell(Record):
    """Which cell of the experiment a trial fills."""

    block: int
    label: str
    workload: str
    order: int  # position within the run, for drift plots
    placement: Placement | None = None  # None: on the machine that the run was started on, one trial at a time


class CellRecord(TrialCell):
    """cell.json: the cell of a trial, and the sha256 of the trial's files."""

    files_sha256: dict[str, str] | None = None  # by name; None: older record, which cannot be verified
    sha256: str | None = None  # of all the other fields

    @classmethod
    def sealed(cls, cell: TrialCell, files_sha256: Mapping[str, str] | None) -> CellRecord:
        """The record with its own sha256."""
        record = cls.model_validate(cell.model_dump() | {"files_sha256": files_sha256, "sha256": None})
        return record.model_copy(update={"sha256": sha256_of(record.model_dump())})

    @property
    def cell(self) -> TrialCell:
        """The cell alone."""
        return TrialCell.model_validate(self.model_dump(include=set(TrialCell.model_fields)))


def sha256_of(fields: Mapping[str, Any]) -> str:
    """The sha256 of a record as JSON, with the fields that it was written with."""
    content = {key: value for key, value in fields.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class VisitIdle(Record):
    """Idle power before and after the trials of one configuration in one block, which their net joules subtract."""

    block: int
    label: str
    workloads: list[str]  # measured between the two, in this order
    before: IdleWindow
    after: IdleWindow | None = None  # None: the visit was interrupted
    attempt: int = 1  # of the first workload; later attempts measure cells that an earlier one left, or damaged cells

    @property
    def file_name(self) -> str:
        """Its name in the run's `idle/`."""
        again = f"-{self.attempt}" if self.attempt > 1 else ""
        return f"{self.block:03d}-{self.label}-{self.workloads[0]}{again}.json"

    def covers(self, cell: TrialCell) -> bool:
        """Whether the cell belongs to this visit."""
        return (cell.block, cell.label) == (self.block, self.label) and cell.workload in self.workloads


class FailedCell(Record):
    """A cell whose measurement failed."""

    block: int
    label: str
    workload: str
    error: str


class DamagedTrial(Record):
    """A trial with a missing or changed file; `reason` is one line that names the file."""

    name: str  # of its folder
    reason: str

    def is_of(self, label: str, workload: str) -> bool:
        """Whether its folder's name is of this configuration and workload."""
        return self.name.endswith(f"-{label}-{workload}")


def damaged_line(trial: DamagedTrial) -> str:
    """One line for the terminal."""
    return f"damaged, left out: {trial.reason}"
