"""Whether the client kept up with its own schedule: a client that lags measures itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from loadgen.records import ClientHealth, RequestRecord, Workload
from loadgen.timer import Timer

_PROBE_NS = 10_000_000


@dataclass
class ClientWatch:
    """CPU time and timer lateness of this process, noted every 10 ms: three columns of equal length."""

    at_ns: list[int] = field(default_factory=list)
    cpu_ns: list[int] = field(default_factory=list)  # of the whole process, since it began
    lag_ns: list[int] = field(default_factory=list)

    def health(self, workload: Workload, records: Sequence[RequestRecord], start_ns: int, end_ns: int) -> ClientHealth:
        """What the trial records, for the window. Closed loops have no schedule to lag behind."""
        at = np.array(self.at_ns)
        inside = (at >= start_ns) & (at <= end_ns)
        late = [r.sent_ns - r.scheduled_ns for r in records if r.sent_ns is not None]
        cpu_fraction = None
        if len(at):
            begin, end = np.interp([start_ns, end_ns], at, self.cpu_ns)
            cpu_fraction = float(end - begin) / (end_ns - start_ns)
        return ClientHealth(
            cpu_fraction=cpu_fraction,
            loop_lag_p99_ms=_p99_ms(np.array(self.lag_ns)[inside]) if len(at) else None,
            schedule_lag_p99_ms=_p99_ms(np.array(late)) if workload.open_loop else None,
        )

    async def keep_noting(self) -> None:
        """Never ends."""
        with Timer() as timer:
            while True:
                due = time.monotonic_ns() + _PROBE_NS
                await timer.until(due)
                now = time.monotonic_ns()
                self.at_ns.append(now)
                self.cpu_ns.append(time.process_time_ns())
                self.lag_ns.append(now - due)


@contextlib.asynccontextmanager
async def watch_client() -> AsyncIterator[ClientWatch]:
    """Watch the event loop from within while the body runs."""
    watch = ClientWatch()
    noting = asyncio.create_task(watch.keep_noting())
    try:
        yield watch
    finally:
        noting.cancel()


def _p99_ms(values_ns: npt.NDArray[np.int64]) -> float | None:
    return float(np.percentile(values_ns, 99)) / 1e6 if values_ns.size else None
