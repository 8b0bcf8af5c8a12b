"""The share of a run's wall time that is measured windows: the rest is pruning, starting, warming up, idle power and quality."""

from __future__ import annotations

from base.records import Record
from reports.runs.reading import MeasuredRun


class WallTime(Record):
    """Wall time of all attempts at a run, without its report, and the windows of its finished trials."""

    wall_s: float | None
    window_s: float
    measured_share: float | None
    reason: str | None = None  # why there is no share


def wall_time(run: MeasuredRun) -> WallTime:
    """Windows of trials measured side by side on several hosts have no share of one wall time."""
    window_s = sum(trial.metrics.window_s for trial in run.trials)
    wall_s, reason = run.info.wall_s, None
    if run.info.status == "running":
        reason = "the run is under way"
    elif run.info.status == "stopped":
        reason = "the run was killed"
    elif any(trial.cell.placement is not None for trial in run.trials):
        reason = "hosts of a cluster measured side by side"
    elif not wall_s:
        reason = "the run was killed once, or recorded by an earlier version"
    share = None if reason or not wall_s else window_s / wall_s
    return WallTime(wall_s=None if reason else wall_s, window_s=window_s, measured_share=share, reason=reason)
