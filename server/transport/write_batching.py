"""A transport that sends once an event-loop pass, regardless of the number of writes.

uvloop passes every write to the kernel immediately, and on loopback or a busy machine the kernel then schedules the reader: with
a hundred streams the server would be preempted after every event. Here all events of a step are formatted first and then
sent, and what belongs to one client (headers and first event; last event, usage and end) goes in one packet.
No write waits longer than the tasks that were ready in the same pass.
"""

from __future__ import annotations

import asyncio


class WriteBatch:
    """The transports of one event loop that hold unsent writes."""

    def __init__(self) -> None:
        self._written: list[BatchedWrites] = []

    def add(self, transport: BatchedWrites) -> None:
        """Flush it before the loop waits for anything again."""
        if not self._written:
            asyncio.get_running_loop().call_soon(self._flush)
        self._written.append(transport)

    def _flush(self) -> None:
        written, self._written = self._written, []
        for transport in written:
            transport.flush()


class BatchedWrites(asyncio.Transport):
    """Wraps the loop's transport; everything but writing is that transport's own."""

    def __init__(self, transport: asyncio.Transport, at_end: WriteBatch) -> None:
        super().__init__()
        self._transport = transport
        self._batch = at_end
        self._parts: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data` before the loop waits for anything again."""
        if not self._parts:
            self._batch.add(self)
        self._parts.append(bytes(data))

    def flush(self) -> None:
        """Send what was written."""
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
