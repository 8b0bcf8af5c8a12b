"""Whether the client kept up with its own schedule: a client that lags measures itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from loadgen.records import ClientHealth, RequestRecord, Workload

_PROBE_S = 0.01


@dataclass
class ClientWatch:
    """CPU time and timer lateness of this process between its start and its end."""

    lags_ns: list[int] = field(default_factory=list)
    cpu_s: float = 0.0
    wall_s: float = 0.0

    def health(self, workload: Workload, records: Sequence[RequestRecord]) -> ClientHealth:
        """What the trial records. Schedule lag is that of open loops: closed ones have no schedule to keep."""
        late = [r.sent_ns - r.scheduled_ns for r in records if r.sent_ns is not None]
        open_loop = workload.kind in {"constant", "poisson"}
        return ClientHealth(
            cpu_fraction=self.cpu_s / self.wall_s if self.wall_s else None,
            loop_lag_p99_ms=_p99_ms(self.lags_ns),
            schedule_lag_p99_ms=_p99_ms(late) if open_loop else None,
        )


@contextlib.asynccontextmanager
async def watch_client() -> AsyncIterator[ClientWatch]:
    """Watch the event loop from within while the body runs."""
    watch = ClientWatch()
    cpu, wall = time.process_time(), time.monotonic()
    probe = asyncio.create_task(_probe(watch.lags_ns))
    try:
        yield watch
    finally:
        probe.cancel()
        watch.cpu_s, watch.wall_s = time.process_time() - cpu, time.monotonic() - wall


async def _probe(lags_ns: list[int]) -> None:
    while True:
        due = time.monotonic_ns() + round(_PROBE_S * 1e9)
        await asyncio.sleep(_PROBE_S)
        lags_ns.append(time.monotonic_ns() - due)


def _p99_ms(values_ns: Sequence[int]) -> float | None:
    return float(np.percentile(values_ns, 99)) / 1e6 if values_ns else None
