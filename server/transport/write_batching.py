"""A transport that writes once a round of the event loop, however often it is written to.

uvloop hands every write to the kernel at once, and on a loopback or a busy machine the kernel then lets the reader run: with a
hundred streams the server would be put aside after every single event. Here a step's events are all made first and then
all written, and what belongs to one client (headers and first event; last event, usage and end) goes in one packet.
Nothing waits longer than the tasks that were ready in the same round.
"""

from __future__ import annotations

import asyncio


class Round:
    """The transports of one event loop that have been written to and have not sent it yet."""

    def __init__(self) -> None:
        self._written: list[GatheredWrites] = []

    def add(self, transport: GatheredWrites) -> None:
        """Flush it before the loop waits for anything again."""
        if not self._written:
            asyncio.get_running_loop().call_soon(self._flush)
        self._written.append(transport)

    def _flush(self) -> None:
        written, self._written = self._written, []
        for transport in written:
            transport.flush()


class GatheredWrites(asyncio.Transport):
    """Wraps the transport that the loop has made; what is not about writing is that one's own."""

    def __init__(self, transport: asyncio.Transport, at_end: Round) -> None:
        super().__init__()
        self._transport = transport
        self._round = at_end
        self._parts: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data` before the loop waits for anything again."""
        if not self._parts:
            self._round.add(self)
        self._parts.append(bytes(data))

    def flush(self) -> None:
        """Hand on what was written."""
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():  # the client may have gone since
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def close(self) -> None:
        """Close once all is sent."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close now; what is not sent is lost."""
        self._parts.clear()
        self._transport.abort()

    # The wrapped transport's own

    def is_closing(self) -> bool:  # noqa: D102
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: object = None) -> object:  # noqa: D102
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:  # noqa: D102
        self._transport.pause_reading()

    def resume_reading(self) -> None:  # noqa: D102
        self._transport.resume_reading()
