"""Watching this process from within its event loop: a client that lags measures itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from loadgen.client.timer import Timer
from loadgen.link.client_watch import PROBE_NS, ClientWatch


@contextlib.asynccontextmanager
async def watch_client() -> AsyncIterator[ClientWatch]:
    """Watch the event loop from within while the body runs."""
    watch = ClientWatch()
    noting = asyncio.create_task(_keep_noting(watch))
    try:
        yield watch
    finally:
        noting.cancel()


async def _keep_noting(watch: ClientWatch) -> None:
    """Never ends."""
    with Timer() as timer:
        while True:
            due = time.monotonic_ns() + PROBE_NS
            await timer.until(due)
            watch.note(due)
