from __future__ import annotations

import asyncio
import time
from array import array

import numpy as np
import pytest

from loadgen.client.watch import watch_client
from loadgen.link.client_watch import ClientWatch
from loadgen.metrics.client_health import client_health
from loadgen.metrics.read_lag import LagHistogram
from loadgen.records.table import Records
from tests.loadgen.made import MS, record, workload


def watch(at, cpu, lag, steps=0):
    return ClientWatch(array("q", at), array("q", cpu), array("q", lag), steps)


def health(kind, watches, start, end, records=(), lags=None):
    lags = lags or LagHistogram()
    return client_health(
        workload(kind), Records.of(records), watches, lags, read_pause_ms=1.0, start_ns=start, end_ns=end
    )


def test_cpu_and_lag_are_those_of_the_window_only():
    # Busy before and after the window, a fifth within.
    cpu = [0, 10 * MS, 12 * MS, 14 * MS, 24 * MS]
    watched = watch([0, 10 * MS, 20 * MS, 30 * MS, 40 * MS], cpu, [9 * MS, MS, MS, MS, 9 * MS])
    found = health("single", [watched], 10 * MS, 30 * MS)
    assert found.cpu_fraction == pytest.approx(0.2)
    assert found.loop_lag_p99_ms == pytest.approx(1.0)


def test_of_several_processes_the_worst_counts():
    calm = watch([0, 10 * MS], [0, MS], [0, 0], steps=1)
    busy = watch([0, 10 * MS], [0, 9 * MS], [0, 5 * MS])
    found = health("concurrency", [calm, busy], 0, 10 * MS)
    assert (found.cpu_fraction, found.processes, found.clock_steps) == (pytest.approx(0.9), 2, 1)
    busy.cores = 0
    assert health("concurrency", [calm, busy], 0, 10 * MS).cores == 0
    assert found.loop_lag_p99_ms > 4


def test_a_schedule_is_lagged_behind_by_open_loops_only():
    late = [record(n, 10, 20, 30, scheduled_ns=7 * MS) for n in range(3)]
    watched = watch([0, 50 * MS], [0, 0], [0, 0])
    assert health("constant", [watched], 0, 50 * MS, late).schedule_lag_p99_ms == pytest.approx(3.0)
    assert health("concurrency", [watched], 0, 50 * MS, late).schedule_lag_p99_ms is None


def test_a_watch_that_saw_nothing_says_nothing():
    found = health("single", [ClientWatch()], 0, MS)
    assert (found.cpu_fraction, found.loop_lag_p99_ms, found.read_lag_p99_ms, found.kernel_stamped) == (None,) * 4


def test_the_lag_behind_the_kernels_stamps_is_that_of_the_windows_seconds_within_a_twentieth():
    lags = LagHistogram()
    for second, lag in ((0, 50 * MS), (5, 2 * MS), (9, 50 * MS)):
        lags.add(np.full(100, second * 1000 * MS), np.full(100, lag))
    lags.add(np.array([5000 * MS]), np.array([-1]))
    found = health("single", [ClientWatch()], 4900 * MS, 5500 * MS, lags=lags)
    assert found.read_lag_p50_ms == pytest.approx(2.0, rel=0.05)
    assert found.read_lag_p99_ms == pytest.approx(2.0, rel=0.05)
    assert found.kernel_stamped == pytest.approx(300 / 301)


async def test_a_blocked_loop_and_a_busy_process_are_seen():
    start = time.monotonic_ns()
    async with watch_client() as watched:
        for _ in range(4):
            until = time.monotonic() + 0.1
            while time.monotonic() < until:
                pass
            await asyncio.sleep(0.02)
    found = health("single", [watched], start, time.monotonic_ns())
    assert found.loop_lag_p99_ms > 50
    assert found.cpu_fraction > 0.02  # however busy others are
