"""The moments of a trial as dates, for formats that have no other clock.

They are exact to each other, and as dates good to some seconds, since a trial keeps its wall time for people only.
"""

from __future__ import annotations

from datetime import datetime

from loadgen.records.schema import Trial


def begun(trial: Trial) -> float | None:
    """Unix seconds of the trial's start; None where an imported result has no date that can be read."""
    try:
        return datetime.fromisoformat(trial.started_at).timestamp()
    except ValueError:
        return None


def unix_seconds(trial: Trial, ns: int) -> float:
    """A moment of the load side's clock as Unix seconds; without a date, seconds from the trial's start."""
    first_sent = (begun(trial) or 0.0) + (trial.warmup.seconds if trial.warmup is not None else 0.0)
    return first_sent + (ns - trial.first_sent_ns) / 1e9
