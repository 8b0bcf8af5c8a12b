"""Which folder a run goes to, and whether one that is there is resumed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from prunebench.experiment.file import Experiment, ExperimentError
from reports.runs.run_folder import RunFolder

Resume = Literal["no", "yes", "if-unfinished"]


def choose_run_folder(experiment: Experiment, output: Path | None, resume: Resume) -> tuple[Path, bool]:
    """The run folder, and whether a run is resumed there: --output, else runs/NAME-TIME, or the newest of that name."""
    if output is not None:
        return output, resume == "yes" or (resume == "if-unfinished" and _is_unfinished(output))
    runs = Path("runs")
    stamped = re.compile(
        re.escape(experiment.name) + r"-\d{8}-\d{6}"
    )  # and not of a longer name with the same beginning
    mine = sorted(p.parent for p in runs.glob("*/experiment.json") if stamped.fullmatch(p.parent.name))
    if resume == "yes" and not mine:
        raise ExperimentError(f"--resume: no run of {experiment.name} under {runs.absolute()}; give --output DIR")
    if resume == "yes" or (resume == "if-unfinished" and mine and _is_unfinished(mine[-1])):
        return mine[-1], True
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return runs / f"{experiment.name}-{stamp}", False


def _is_unfinished(path: Path) -> bool:
    return (path / "run.json").is_file() and RunFolder(path).info().status != "complete"
