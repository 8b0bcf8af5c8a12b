"""Whether the client kept up with its own schedule: a client that lags measures itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from array import array
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from loadgen.client.timer import Timer
from loadgen.metrics.read_lag import LagHistogram
from loadgen.records.schema import ClientHealth
from loadgen.records.table import Records
from loadgen.workloads.base import Workload

PROBE_NS = 10_000_000


@dataclass
class ClientWatch:
    """CPU time and timer lateness of a process, noted every 10 ms: three columns of equal length."""

    at_ns: array[int] = field(default_factory=lambda: array("q"))
    cpu_ns: array[int] = field(default_factory=lambda: array("q"))  # of the whole process, since it began
    lag_ns: array[int] = field(default_factory=lambda: array("q"))
    clock_steps: int = 0
    cores: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))  # that it may run on

    def over(self, start_ns: int, end_ns: int) -> tuple[float, float | None] | None:
        """(share of one core used, p99 of the timer's lateness, ms) in a window; None if nothing was noted."""
        if not self.at_ns:
            return None
        at, cpu = np.array(self.at_ns), np.array(self.cpu_ns)
        begin, end = np.interp([start_ns, end_ns], at, cpu)
        lags = np.array(self.lag_ns)[(at >= start_ns) & (at <= end_ns)]
        return float(end - begin) / (end_ns - start_ns), _p99_ms(lags)

    def note(self, due_ns: int) -> None:
        """The present moment, which was to be `due_ns`."""
        now = time.monotonic_ns()
        self.at_ns.append(now)
        self.cpu_ns.append(time.process_time_ns())
        self.lag_ns.append(now - due_ns)

    async def keep_noting(self) -> None:
        """Never ends."""
        with Timer() as timer:
            while True:
                due = time.monotonic_ns() + PROBE_NS
                await timer.until(due)
                self.note(due)


@contextlib.asynccontextmanager
async def watch_client() -> AsyncIterator[ClientWatch]:
    """Watch the event loop from within while the body runs."""
    watch = ClientWatch()
    noting = asyncio.create_task(watch.keep_noting())
    try:
        yield watch
    finally:
        noting.cancel()


def client_health(
    workload: Workload,
    records: Records,
    watches: Sequence[ClientWatch],
    lags: LagHistogram,
    *,
    read_pause_ms: float,
    start_ns: int,
    end_ns: int,
) -> ClientHealth:
    """What the trial records of its client processes, for the window: the worst of them. Closed loops have no schedule."""
    found = [over for over in (watch.over(start_ns, end_ns) for watch in watches) if over is not None]
    late = records.column("sent_ns") - records.column("scheduled_ns")
    read = lags.percentiles_ms(start_ns, end_ns, (50, 99))
    return ClientHealth(
        cpu_fraction=max((cpu for cpu, _ in found), default=None),
        loop_lag_p99_ms=max((lag for _, lag in found if lag is not None), default=None),
        schedule_lag_p99_ms=_p99_ms(late[records.column("sent_ns") >= 0]) if workload.open_loop else None,
        read_lag_p50_ms=read and read[0],
        read_lag_p99_ms=read and read[1],
        read_pause_ms=read_pause_ms,
        kernel_stamped=lags.stamped / lags.reads if lags.reads else None,
        clock_steps=sum(watch.clock_steps for watch in watches),
        processes=len(watches),
        cores=min((watch.cores for watch in watches), default=None),
    )


def _p99_ms(values_ns: npt.NDArray[np.int64]) -> float | None:
    return float(np.percentile(values_ns, 99)) / 1e6 if values_ns.size else None
