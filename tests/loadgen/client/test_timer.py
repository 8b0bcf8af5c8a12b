from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
import uvloop

from loadgen.client.timer import Timer


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_it_never_wakes_early_whatever_the_fraction_of_a_millisecond(new_loop):
    async def lags():
        with Timer() as timer:
            found = []
            for n in range(40):
                due = time.monotonic_ns() + 1_000_000 + n * 100_300
                await timer.until(due)
                found.append(time.monotonic_ns() - due)
            return found

    with asyncio.Runner(loop_factory=new_loop) as runner:
        found = runner.run(lags())
    assert min(found) >= 0
    assert sorted(found)[10] < 20_000_000


async def test_a_moment_that_has_passed_is_not_waited_for():
    with Timer() as timer:
        await asyncio.wait_for(timer.until(time.monotonic_ns() - 5), 1)


async def test_a_sleeper_can_be_cancelled_and_the_timer_used_again():
    with Timer() as timer:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(timer.until(time.monotonic_ns() + 10**12), 0.01)
        await asyncio.wait_for(timer.until(time.monotonic_ns() + 10**6), 5)


async def test_leaving_gives_the_descriptor_back():
    before = open_files()
    with Timer():
        assert open_files() == before + 1
    assert open_files() == before


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))
