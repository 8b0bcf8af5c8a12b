"""A client process's own health while it loads: CPU time, and how late its timer fires."""

from __future__ import annotations

import os
import time
from array import array
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

PROBE_NS = 10_000_000


@dataclass
class ClientWatch:
    """CPU time and timer lateness of a process, sampled every 10 ms: three columns of equal length."""

    at_ns: array[int] = field(default_factory=lambda: array("q"))
    cpu_ns: array[int] = field(default_factory=lambda: array("q"))  # of the whole process, since it began
    lag_ns: array[int] = field(default_factory=lambda: array("q"))
    clock_steps: int = 0
    cores: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))  # that it may run on

    def over(self, start_ns: int, end_ns: int) -> tuple[float, float | None] | None:
        """(share of one core used, p99 of the timer's lateness, ms) in a window; None without samples."""
        if not self.at_ns:
            return None
        at, cpu = np.array(self.at_ns), np.array(self.cpu_ns)
        begin, end = np.interp([start_ns, end_ns], at, cpu)
        lags = np.array(self.lag_ns)[(at >= start_ns) & (at <= end_ns)]
        return float(end - begin) / (end_ns - start_ns), p99_ms(lags)

    def note(self, due_ns: int) -> None:
        """Sample now; the timer was due at `due_ns`."""
        now = time.monotonic_ns()
        self.at_ns.append(now)
        self.cpu_ns.append(time.process_time_ns())
        self.lag_ns.append(now - due_ns)


def p99_ms(values_ns: npt.NDArray[np.int64]) -> float | None:
    """The 99th percentile in milliseconds; None without values."""
    return float(np.percentile(values_ns, 99)) / 1e6 if values_ns.size else None
