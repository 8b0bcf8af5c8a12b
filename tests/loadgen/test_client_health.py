from __future__ import annotations

import asyncio
import time

import pytest

from loadgen.client_health import ClientWatch, watch_client
from tests.loadgen.made import MS, record, workload


def test_cpu_and_lag_are_those_of_the_window_only():
    watch = ClientWatch(
        at_ns=[0, 10 * MS, 20 * MS, 30 * MS, 40 * MS],
        cpu_ns=[0, 10 * MS, 12 * MS, 14 * MS, 24 * MS],  # busy before and after the window, a fifth within
        lag_ns=[9 * MS, MS, MS, MS, 9 * MS],
    )
    health = watch.health(workload("single"), [], 10 * MS, 30 * MS)
    assert health.cpu_fraction == pytest.approx(0.2)
    assert health.loop_lag_p99_ms == pytest.approx(1.0)


def test_a_schedule_is_lagged_behind_by_open_loops_only():
    late = [record(n, 10, 20, 30, scheduled_ns=7 * MS) for n in range(3)]
    watch = ClientWatch(at_ns=[0, 50 * MS], cpu_ns=[0, 0], lag_ns=[0, 0])
    assert watch.health(workload("constant"), late, 0, 50 * MS).schedule_lag_p99_ms == pytest.approx(3.0)
    assert watch.health(workload("concurrency"), late, 0, 50 * MS).schedule_lag_p99_ms is None


def test_a_watch_that_saw_nothing_says_nothing():
    health = ClientWatch().health(workload("single"), [], 0, MS)
    assert (health.cpu_fraction, health.loop_lag_p99_ms) == (None, None)


async def test_a_blocked_loop_and_a_busy_process_are_seen():
    start = time.monotonic_ns()
    async with watch_client() as watch:
        for _ in range(4):
            until = time.monotonic() + 0.1
            while time.monotonic() < until:
                pass
            await asyncio.sleep(0.02)
    health = watch.health(workload("single"), [], start, time.monotonic_ns())
    assert health.loop_lag_p99_ms > 50
    assert health.cpu_fraction > 0.2
