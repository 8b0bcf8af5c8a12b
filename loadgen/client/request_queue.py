"""Requests made before they are needed: drawing and encoding a long prompt takes longer than a token does."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

_AHEAD = 2048  # requests of 1,000 tokens are 12 MB
_PAUSE_S = 0.001  # between two made while others are being timed
_IDLE_S = 0.02  # until looking again whether one is missing


class RequestsAhead:
    """The bytes of requests 0, 1, 2 …, which must be taken in that order; `count`: how many there will be, if known."""

    def __init__(self, make: Callable[[int], bytes], count: int | None, ahead: int = _AHEAD) -> None:
        self._make = make
        self._count = count
        self._ahead = ahead
        self._next = 0
        self._made: deque[bytes] = deque()

    def fill(self) -> None:
        """Make as many as may wait."""
        while self._wanted():
            self._make_one()

    async def keep_full(self) -> None:
        """Make up for what is taken, one at a time; ends when all are made."""
        while self._count is None or self._next < self._count:
            await asyncio.sleep(_PAUSE_S if self._wanted() else _IDLE_S)
            if self._wanted():
                self._make_one()

    def take(self) -> bytes:
        """The next request, made now if it must be."""
        if not self._made:
            self._make_one()
        return self._made.popleft()

    def _wanted(self) -> bool:
        return len(self._made) < self._ahead and (self._count is None or self._next < self._count)

    def _make_one(self) -> None:
        self._made.append(self._make(self._next))
        self._next += 1
