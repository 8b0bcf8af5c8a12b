"""Requests in flight: admitted up to a limit, cancelled when their client disconnects or the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from starlette.types import Receive

from server.errors import ApiError

T = TypeVar("T")


class ClientDisconnected(Exception):  # noqa: N818 - an event, not a mistake
    """The client has disconnected before its answer was complete."""


class InFlight:
    """All requests that are being answered."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sequences = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    def check(self, sequences: int) -> None:
        """Raise ApiError 400 for more sequences than the limit, which would never be admitted."""
        if sequences > self._limit:
            raise ApiError(400, f"{sequences} sequences in one request are more than this server takes ({self._limit})")

    @contextmanager
    def admitted(self, sequences: int) -> Iterator[None]:
        """Reserve places for that many sequences. Raises ApiError 429 if they do not fit now."""
        if self._sequences + sequences > self._limit:
            raise ApiError(429, f"{self._sequences} sequences are in flight and this server takes {self._limit}")
        self._sequences += sequences
        try:
            yield
        finally:
            self._sequences -= sequences

    async def run(self, receive: Receive, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`. Raises ClientDisconnected if that happens first, ApiError 503 after `abort`."""
        working = asyncio.ensure_future(work)
        watching = asyncio.ensure_future(_disconnected(receive))
        self._tasks.add(working)
        try:
            await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise ClientDisconnected
            if working.cancelled():
                raise ApiError(503, "the server is stopping", code="stopping")
            return working.result()
        finally:
            self._tasks.discard(working)
            working.cancel()
            watching.cancel()
            await asyncio.gather(working, watching, return_exceptions=True)

    def abort(self) -> None:
        """Cancel every request; each client gets a 503."""
        for task in self._tasks:
            task.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
