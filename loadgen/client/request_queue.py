"""A queue of requests built ahead: drawing and encoding a long prompt takes longer than a token does."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")
_AHEAD = 2048  # requests of 1,000 tokens are 12 MB
_PAUSE_S = 0.001  # between two requests built during the load
_IDLE_S = 0.02  # between two checks of a full queue


class RequestsAhead(Generic[_T]):
    """Requests 0, 1, 2 …, which must be taken in that order; `count`: how many there will be, if known.

    `flows`: as many such queues share the room.
    """

    def __init__(self, make: Callable[[int], _T], count: int | None, ahead: int = _AHEAD, *, flows: int = 1) -> None:
        self._make = make
        self._count = count
        self._ahead = max(1, ahead // flows)
        self._next = 0
        self._made: deque[_T] = deque()

    def fill(self) -> None:
        """Build requests until the queue is full."""
        while self._wanted():
            self._make_one()

    async def keep_full(self) -> None:
        """Refill the queue as requests are taken, one at a time; ends when all are built."""
        while self._count is None or self._next < self._count:
            await asyncio.sleep(_PAUSE_S if self._wanted() else _IDLE_S)
            if self._wanted():
                self._make_one()

    def take(self) -> _T:
        """The next request, built now if none is queued."""
        if not self._made:
            self._make_one()
        return self._made.popleft()

    def _wanted(self) -> bool:
        return len(self._made) < self._ahead and (self._count is None or self._next < self._count)

    def _make_one(self) -> None:
        self._made.append(self._make(self._next))
        self._next += 1
