"""Whether the client kept up with its own schedule: a client that lags measures itself."""

from __future__ import annotations

from collections.abc import Sequence

from loadgen.link.client_watch import ClientWatch, p99_ms
from loadgen.metrics.read_lag import LagHistogram
from loadgen.records.schema import ClientHealth
from loadgen.records.table import Records
from loadgen.workloads.base import Workload


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
        schedule_lag_p99_ms=p99_ms(late[records.column("sent_ns") >= 0]) if workload.open_loop else None,
        read_lag_p50_ms=read and read[0],
        read_lag_p99_ms=read and read[1],
        read_pause_ms=read_pause_ms,
        kernel_stamped=lags.stamped / lags.reads if lags.reads else None,
        clock_steps=sum(watch.clock_steps for watch in watches),
        processes=len(watches),
        cores=min((watch.cores for watch in watches), default=None),
    )
