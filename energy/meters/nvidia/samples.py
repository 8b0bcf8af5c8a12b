"""The driver's buffer of power samples as a meter: every sample counts, even if the buffer is read rarely.

Samples are stamped in microseconds of the wall clock. Each reading has the joules up to the last sample, at that sample's own
time, converted to the monotonic clock.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pynvml

from base.clock import wall_clock_offset
from energy.meters.base import Reading

WALL_CLOCK_SET_NS = 2_000_000  # slewing moves the wall clock by at most 0.5 ms a second; more means that it was set
FOREIGN_CLOCK_S = 10.0  # a newest sample further from now than this has the stamp of an unknown clock
VALUE_MEMBERS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")  # of nvmlValue_t, by valueType


class PowerSamples:
    """The samples of one GPU, integrated by trapezoids from the first one."""

    def __init__(self, handle: Any) -> None:
        """Read the buffer once. Raises NVMLError if there is none, LookupError with the reason if it is unusable."""
        self._handle = handle
        self._offset_ns, _ = wall_clock_offset(time.time_ns, time.monotonic_ns)
        stamps, watts = self._since(0)
        if len(stamps) < 2 or watts.max() <= 0:
            raise LookupError("no samples" if len(stamps) < 2 else "always 0")
        if abs(stamps[-1] / 1e6 - time.time_ns() / 1e9) > FOREIGN_CLOCK_S:
            raise LookupError("the samples are not stamped by this machine's clock")
        self.period_s = float(np.median(np.diff(stamps))) / 1e6
        self._joules = 0.0
        self._last_us, self._last_watts = int(stamps[-1]), float(watts[-1])
        self._seen_us = self._last_us

    def take(self, before_ns: int) -> Reading:
        """Everything sampled since the last call. No new sample is a gap, and so are samples around a change of the wall clock."""
        offset_ns, _ = wall_clock_offset(time.time_ns, time.monotonic_ns)
        if abs(offset_ns - self._offset_ns) > WALL_CLOCK_SET_NS:
            # The buffered samples may have old or new stamps: skip them, and continue with later ones.
            self._last_us += (offset_ns - self._offset_ns) // 1000
            self._offset_ns = offset_ns
            self._seen_us = time.time_ns() // 1000
            return Reading(before_ns, time.monotonic_ns(), error="the wall clock was set")
        self._offset_ns = offset_ns
        try:
            stamps, watts = self._since(self._seen_us)
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_NOT_FOUND:  # no new sample
                return Reading(before_ns, time.monotonic_ns())
            raise
        # Samples ahead of the clock were stamped before it was set back.
        not_ahead = stamps <= time.time_ns() // 1000 + 1000
        stamps, watts = stamps[not_ahead], watts[not_ahead]
        if not len(stamps):
            return Reading(before_ns, time.monotonic_ns())
        seconds = np.concatenate(([self._last_us], stamps)) / 1e6
        power = np.concatenate(([self._last_watts], watts))
        self._joules += float(np.trapezoid(power, seconds - seconds[0]))
        self._last_us = self._seen_us = int(stamps[-1])
        self._last_watts = float(watts[-1])
        at_ns = self._last_us * 1000 - offset_ns
        return Reading(at_ns, at_ns, self._joules, self._last_watts)

    def _since(self, last_us: int) -> tuple[np.ndarray, np.ndarray]:
        """[n] stamps in microseconds, and watts; only those after `last_us`, in time order."""
        kind, samples = pynvml.nvmlDeviceGetSamples(self._handle, pynvml.NVML_TOTAL_POWER_SAMPLES, last_us)
        member = VALUE_MEMBERS[kind]
        rows = sorted((s.timeStamp, getattr(s.sampleValue, member) / 1e3) for s in samples if s.timeStamp > last_us)
        return np.array([us for us, _ in rows], dtype=np.int64), np.array([w for _, w in rows], dtype=np.float64)
