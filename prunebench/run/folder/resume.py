"""What `--resume` does with each cell: reuse its trial, measure it, or set a damaged trial aside and measure it again."""

from __future__ import annotations

from typing import Literal

from base.records import Record
from prunebench.experiment.file import Experiment, ExperimentError
from prunebench.run.folder.run_writer import RunWriter
from reports.runs.records.cells import TrialCell
from reports.runs.records.run import RunInfo


class CellState(Record):
    """One cell; `reason` names what is damaged."""

    block: int  # from 1, as people count
    label: str
    workload: str
    state: Literal["reused", "run", "set aside"]
    reason: str | None = None

    def line(self) -> str:
        """One line for the terminal."""
        again = f", measured again: {self.reason}" if self.state == "set aside" else ""
        return f"block {self.block}, {self.label}, {self.workload}: {self.state}{again}"


def cell_state(cell: TrialCell, writer: RunWriter) -> CellState:
    """The state of one cell. Every file of a finished trial is verified and read; nothing is changed."""
    there = writer.has_trial(cell)
    damage = writer.damage(cell) if there else None
    return CellState(
        block=cell.block + 1,
        label=cell.label,
        workload=cell.workload,
        state="set aside" if damage else "reused" if there else "run",
        reason=damage,
    )


def extension_note(experiment: Experiment, begun: RunInfo | None) -> str | None:
    """What an addition of blocks does to the report; None if none are added."""
    if begun is None or experiment.protocol.blocks <= begun.blocks:
        return None
    return (
        f"extended from {begun.blocks} to {experiment.protocol.blocks} blocks; the report's intervals will be wider, since they allow "
        "for the results that were there"
    )


def extended(experiment: Experiment, begun: RunInfo | None, blocks: int | None) -> Experiment:
    """The experiment with the run's final number of blocks, or the most that it may have. Raises ExperimentError for fewer than the run has."""
    there = begun.blocks if begun else 0
    if blocks is not None and blocks < there:
        raise ExperimentError(f"--blocks {blocks}: the run has {there} already")
    if experiment.protocol.until is not None:
        most = experiment.protocol.max_blocks if blocks is None else blocks
        return experiment.model_copy(update={"protocol": experiment.protocol.model_copy(update={"max_blocks": most})})
    wanted = max(blocks or experiment.protocol.blocks, there)
    return experiment.model_copy(update={"protocol": experiment.protocol.model_copy(update={"blocks": wanted})})
