"""Poll all sockets together, at most once a millisecond.

A hundred streams of a hundred tokens a second would wake the client ten thousand times a second, each time with cold caches
(`benchmarks/load/reading.py`). Where the kernel stamps what comes, a chunk may lie in its socket for a moment without being measured later.
Where chunks come further apart than that, each is read immediately.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Callable

from loadgen.client.timer import Clockwork

PAUSE_NS = 1_000_000


class ReadySockets:
    """Calls back for sockets that can be read, on the running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._epoll = select.epoll()  # itself readable as soon as one of its sockets is
        self._clockwork = Clockwork(self._look_again)
        self._looked_ns = 0
        self._loop.add_reader(self._epoll.fileno(), self._woken)

    def add(self, descriptor: int, callback: Callable[[], None], *, can_wait: bool = True) -> None:
        """Call back whenever it can be read, until it is removed; with `can_wait` False, immediately."""
        if not can_wait:
            self._loop.add_reader(descriptor, callback)
            return
        self._callbacks[descriptor] = callback
        self._epoll.register(descriptor, select.EPOLLIN)

    def remove(self, descriptor: int) -> None:
        """Stop its callbacks; call it before the descriptor is closed."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)
        else:
            self._loop.remove_reader(descriptor)

    def close(self) -> None:
        """Stop all callbacks."""
        self._loop.remove_reader(self._epoll.fileno())
        self._clockwork.close()
        self._epoll.close()

    def _woken(self) -> None:
        now = time.monotonic_ns()
        if now < self._looked_ns + PAUSE_NS:
            self._loop.remove_reader(self._epoll.fileno())
            self._clockwork.wind(self._looked_ns + PAUSE_NS, PAUSE_NS)
            return
        self._looked_ns = now
        self._read_all()

    def _look_again(self) -> None:
        self._looked_ns = time.monotonic_ns()
        if not self._read_all() and not self._epoll.closed:
            self._clockwork.wind(0)
            self._loop.add_reader(self._epoll.fileno(), self._woken)

    def _read_all(self) -> int:
        """How many could be read."""
        ready = self._epoll.poll(0, max(1, len(self._callbacks)))
        for descriptor, _ in ready:
            # One that was removed by the callback of another, or is a new socket's since, has nothing to read.
            if callback := self._callbacks.get(descriptor):
                callback()
        return len(ready)
