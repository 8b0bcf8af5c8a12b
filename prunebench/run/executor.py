"""What measures a run: a bench on one machine, or sessions on a cluster; what it is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from loadgen.records.schema import WindowRules
from prunebench.experiment.file import Experiment
from prunebench.run.folder.run_writer import RunWriter
from prunebench.run.schedule import Visit
from prunebench.terminal.progress import Steps
from reports.document.console import Console
from reports.runs.records.cells import TrialCell
from reports.runs.records.configuration import ConfigurationInfo
from reports.runs.records.run import IdleRule


@dataclass(frozen=True)
class Assignment:
    """What an executor measures. `configurations` is filled and kept up to date during the run."""

    experiment: Experiment
    writer: RunWriter
    configurations: dict[str, ConfigurationInfo]
    window_rules: WindowRules = 2  # those that the run began under
    idle_rule: IdleRule = "visit"


@dataclass(frozen=True)
class Outcome:
    """Finished cells: each has its folder, or `cause` is the reason why none has."""

    cells: tuple[TrialCell, ...]
    cause: str | None = None

    def report(self, steps: Steps) -> None:
        """Count them as done, and print the cause where they failed."""
        first = self.cells[0]
        place = f"block {first.block + 1}, {first.label}, {', '.join(cell.workload for cell in self.cells)}"
        if self.cause is not None:
            steps.print(f"{place}: failed: {self.cause}")
        steps.advance(len(self.cells), place if self.cause is None else f"{first.label} failed")


class Executor(Protocol):
    """What measures: this process, or sessions on a cluster."""

    def places(self) -> int:
        """The number of blocks that it can measure at once."""

    def measure(self, visits: Sequence[Visit], steps: Steps) -> None:
        """Measure every cell of `visits`; one that fails is recorded, and the others continue."""

    def finish(self) -> None:
        """After the last trial: facts of the configurations that an attempt cut short has left."""

    def ask(self, console: Console) -> bool:
        """The quality tasks of every configuration that was served; False if one gave no score."""

    def close(self) -> None:
        """End what was started."""
