"""`prunebench report --wait`: for a report made by another process or container than the run."""

from __future__ import annotations

import time
from pathlib import Path

from reports.errors import ReportError
from reports.runs.run_folder import RunFolder

_INTERVAL_S = 0.5
_START_S = 120.0  # a prepared run that nobody begins in so long is given up


def newest_run(path: Path) -> Path:
    """`path` itself if it is a run folder, else the newest run in it, if there is one."""
    if (path / "run.json").exists():
        return path
    runs = [RunFolder(file.parent) for file in path.glob("*/run.json")]
    return max(runs, key=lambda run: run.info().created_at).path if runs else path


def wait_for_run(path: Path) -> str | None:
    """Wait until the runner at work on a run has ended; what is wrong with the run then, None if it is complete.

    Raises ReportError if it never began.
    """
    folder = RunFolder(path)
    given_up = time.monotonic() + _START_S
    while folder.has_runner() or folder.info().status == "prepared":
        if folder.has_runner():
            given_up = time.monotonic() + _START_S
        elif time.monotonic() > given_up:
            raise ReportError(f"{path}: the run was prepared and nobody began it")
        time.sleep(_INTERVAL_S)
    match folder.info().status:
        case "complete":
            return None
        case "running":  # it had no time to say so
            return f"{path}: the runner was killed; `prunebench run --resume` goes on"
        case status:
            failed = "".join(f"; {one.label}, {one.workload}: {one.error}" for one in folder.failures()[:3])
            return f"{path}: the run is {status}{failed}"
