"""Messages between the process that measures and the one that reads answers: pickles behind their length, over a socket."""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from collections import deque
from typing import Any

_LENGTH = struct.Struct("!I")
# Buffered at most, some 800,000 chunks; beyond it sends block the loop, which the lag shows.
_ROOM_BYTES = 256 * 1024 * 1024
_RECEIVE_BYTES = 1024 * 1024


def frame(message: object) -> bytes:
    """A message behind its length."""
    data = pickle.dumps(message, protocol=5)
    return _LENGTH.pack(len(data)) + data


class Inbox:
    """Read messages from a socket whose both ends are this program's own."""

    def __init__(self, source: socket.socket) -> None:
        self.source = source
        self._room = memoryview(bytearray(_RECEIVE_BYTES))  # made once: that takes longer than most messages do
        self._bytes = bytearray()

    def receive(self) -> list[Any] | None:
        """Return the complete messages received, blocking for bytes where the socket blocks; None at its end."""
        try:
            length = self.source.recv_into(self._room)
        except BlockingIOError:
            return []
        except ConnectionError:
            return None
        if not length:
            return None
        self._bytes += self._room[:length]
        found, at = [], 0
        while len(self._bytes) - at >= _LENGTH.size:
            end = at + _LENGTH.size + _LENGTH.unpack_from(self._bytes, at)[0]
            if len(self._bytes) < end:
                break
            found.append(pickle.loads(memoryview(self._bytes)[at + _LENGTH.size : end]))  # noqa: S301 - our own
            at = end
        del self._bytes[:at]
        return found


class Replies:
    """Send without ever waiting for the other end, which may be waiting for us; what it does not take is buffered."""

    def __init__(self, target: socket.socket) -> None:
        self._target = target
        self._unsent = bytearray()

    @property
    def buffered(self) -> bool:
        """Whether `flush` has something to send."""
        return bool(self._unsent)

    def put(self, message: object) -> None:
        """Send now, as far as it goes."""
        self._unsent += frame(message)
        self.flush()

    def flush(self) -> None:
        """Send what is buffered, as far as it goes; drop it if the other end is gone, which reading reports."""
        try:
            sent = self._target.send(self._unsent, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            sent = len(self._unsent)
        del self._unsent[:sent]


class Outbox:
    """Send without blocking the loop, up to a limit of buffered bytes."""

    def __init__(self, target: socket.socket) -> None:
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[memoryview] = deque()
        self._bytes = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, message: object) -> None:
        """Send now, or buffer. Raises ConnectionError if the other end is gone."""
        data = memoryview(frame(message))
        if not self._waiting:
            data = data[self._send(data) :]
        if data:
            self._waiting.append(data)
            self._bytes += len(data)
            self._empty.clear()
            self._loop.add_writer(self._target, self._go_on)
        if self._bytes > _ROOM_BYTES:
            self._make_room()

    async def drained(self) -> None:
        """Return once the buffer is empty."""
        await self._empty.wait()

    def _go_on(self) -> None:
        while self._waiting:
            sent = self._send(self._waiting[0])
            self._bytes -= sent
            if sent < len(self._waiting[0]):
                self._waiting[0] = self._waiting[0][sent:]
                return
            self._waiting.popleft()
        self._loop.remove_writer(self._target)
        self._empty.set()

    def _make_room(self) -> None:
        self._target.setblocking(True)
        try:
            self._go_on()
        finally:
            self._target.setblocking(False)

    def _send(self, data: memoryview) -> int:
        try:
            return self._target.send(data)
        except BlockingIOError:
            return 0
