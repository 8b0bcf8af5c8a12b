"""A trial's power as one line: the sum of its meters, in few enough steps for a plot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from base.records import Record
from energy.records import MeterPower, PowerTimeline
from loadgen.records.schema import Trial

MOST_STEPS = 150  # per trial, so that a block of many trials stays readable and report.json small


class PowerFigures(Record):
    """Mean watts in steps; seconds count from the start of the window."""

    source: str
    measured: bool
    start_s: float
    step_s: float
    watts: list[float]


def power_figures(timeline: PowerTimeline, trial: Trial) -> PowerFigures | None:
    """Power of the headline's meters, or of the modelled ones if none was measured; None without either."""
    sources = set((trial.energy.source or "").split("+"))
    found = [m for m in timeline.meters if m.info.measured and m.info.source in sources]
    found = found or [m for m in timeline.meters if not m.info.measured]
    if not found:
        return None
    start = max(m.start_ns for m in found)
    end = min(m.start_ns + len(m.watts) * m.step_ns for m in found)
    step = max(*(m.step_ns for m in found), -((start - end) // MOST_STEPS))
    steps = (end - start) // step
    if steps < 1:
        return None
    edges = start + step * np.arange(steps + 1)
    return PowerFigures(
        source="+".join(sorted({m.info.source for m in found})),
        measured=found[0].info.measured,
        start_s=(start - trial.window_start_ns) / 1e9,
        step_s=step / 1e9,
        watts=[float(f"{watts:.4g}") for watts in np.diff(_joules_at(found, edges)) / (step / 1e9)],
    )


def _joules_at(meters: Sequence[MeterPower], edges: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Cumulative joules of all meters at each edge. This keeps the energy of each step for any alignment of the meters' steps."""
    total = np.zeros(len(edges))
    for meter in meters:
        own = meter.step_ns / 1e9 * np.arange(len(meter.watts) + 1)
        cumulative = np.concatenate(([0.0], np.cumsum(meter.watts))) * meter.step_ns / 1e9
        total += np.interp((edges - meter.start_ns) / 1e9, own, cumulative)
    return total
