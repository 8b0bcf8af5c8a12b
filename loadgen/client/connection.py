"""One keep-alive HTTP/1.1 connection on uvloop's loop, each read stamped before it is parsed.

A read costs `recvmsg`, httptools' C parser, which puts the body into place, and a few appends; `loadgen.answers.sse` finds out later what the bytes mean.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from time import monotonic_ns

import httptools

from loadgen.client.exchange import NOT_HTTP, Exchange, is_interim, not_http
from loadgen.client.kernel_stamps import ANCILLARY_BYTES, ODD_NS, ArrivalClock, unpack_stamp
from loadgen.client.polling import ReadySockets
from loadgen.client.tls import TlsSession


class Connection:
    """One keep-alive connection: one exchange at a time."""

    def __init__(
        self,
        opened: socket.socket,
        tls: TlsSession | None,
        clock: ArrivalClock,
        buffer: bytearray,
        ready: ReadySockets,
        *,
        stamped: bool,
    ) -> None:
        self.usable = True
        self.dropped = False  # closed by the server before a byte of the answer
        self._socket, self._tls, self._clock = opened, tls, clock
        self._receive, self._buffers, self._view = opened.recvmsg_into, [buffer], memoryview(buffer)
        self._loop = asyncio.get_running_loop()
        self._unsent = b""
        self._parser: httptools.HttpResponseParser | None = None
        self._feed: Callable[[bytes | memoryview], None] | None = None  # the parser's, while an answer is due
        self._exchange = Exchange()
        self.on_body = self._exchange.body.extend  # called by httptools with each part of the body
        self._done: asyncio.Future[None] | None = None
        self._at_ns = self._lag_ns = 0
        self._ready = ready
        ready.add(opened.fileno(), self._readable, can_wait=stamped)

    def send(self, request: bytes) -> tuple[Exchange, asyncio.Future[None]]:
        """Write a request; the future is done when the answer has ended, well or not."""
        self._exchange = Exchange()
        self.on_body = self._exchange.body.extend
        self._parser = httptools.HttpResponseParser(self)
        self._feed = self._parser.feed_data
        self._done = self._loop.create_future()
        self._at_ns = 0
        self._exchange.sent_ns = monotonic_ns()
        self._write(self._tls.seal(request) if self._tls else request)
        return self._exchange, self._done

    @property
    def read_ns(self) -> int:
        """When the last bytes arrived; 0 before the first."""
        return self._at_ns

    def close(self) -> None:
        """Drop the connection, and the rest of an answer with it."""
        self.usable = False
        if self._socket.fileno() >= 0:
            self._ready.remove(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()

    # the socket

    def _readable(self) -> None:
        try:
            length, stamps, _, _ = self._receive(self._buffers, ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error)
            return
        read_ns = monotonic_ns()
        if not length:
            self._lost(None)
            return
        if stamps:
            seconds, nanoseconds = stamp = unpack_stamp(stamps[0][2])
            at_ns = seconds * 1_000_000_000 + nanoseconds - self._clock.offset_ns
            # Late, or out of order, as where the wall clock was set back between two reads: ask the clock.
            if not self._at_ns <= at_ns <= read_ns < at_ns + ODD_NS:
                at_ns = max(self._clock.arrival(stamp, read_ns), self._at_ns)
            self._at_ns, self._lag_ns = at_ns, read_ns - at_ns
        else:
            self._at_ns, self._lag_ns = read_ns, -1
        if self._tls is None:
            self._parse(self._view[:length])
        else:
            self._unseal(self._tls, self._view[:length])

    def _unseal(self, tls: TlsSession, data: memoryview) -> None:
        try:
            said, answer = tls.unseal(data)
        except OSError as error:
            self._lost(error)
            return
        if answer:
            self._write(answer)
        if said:
            self._parse(said)

    def _parse(self, data: bytes | memoryview) -> None:
        if self._feed is None:
            self.close()  # unsolicited data from the server
            return
        broken = None
        try:
            self._feed(data)
        except NOT_HTTP as error:
            broken = not_http(error)
        self._exchange.note_read(self._at_ns, self._lag_ns)
        if broken is not None:
            self._finish(broken)
            self.close()  # also where the answer was whole and more came after it

    def _write(self, data: bytes) -> None:
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # reading reports it
        if sent < len(data):
            self._unsent = data[sent:]
            self._loop.add_writer(self._socket.fileno(), self._writable)

    def _writable(self) -> None:
        rest, self._unsent = self._unsent, b""
        self._loop.remove_writer(self._socket.fileno())
        self._write(rest)

    def _lost(self, error: OSError | None) -> None:
        self.close()
        self.dropped = self._at_ns == 0
        self._at_ns = monotonic_ns()
        unframed = error is None and self._exchange.headers_ns is not None and not self._exchange.framed
        if unframed or self._exchange.said_done:
            self._finish(None)
        else:
            self._finish(f"the connection was lost: {error or 'closed by the server'}")

    # called by httptools

    def on_message_begin(self) -> None:
        """An answer begins."""
        if self._done is None or self._done.done():
            raise httptools.HttpParserError("an answer without a request")
        self._exchange.framed = False  # also of the answer proper after an interim one

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has come."""
        self._exchange.take_header(name, value)

    def on_headers_complete(self) -> None:
        """The status has come."""
        assert self._parser is not None  # noqa: S101 - it is calling
        self._exchange.take_status(self._parser.get_status_code(), self._at_ns)

    def on_message_complete(self) -> None:
        """The answer has ended; an interim one is followed by the real one."""
        assert self._parser is not None  # noqa: S101 - it is calling
        if is_interim(self._parser.get_status_code()):
            return  # the real one follows
        keep = self._parser.should_keep_alive()
        self._finish(None)
        if not keep:
            self.close()

    def _finish(self, error: str | None) -> None:
        if self._done is None or self._done.done():
            return
        self._feed = None
        self._exchange.end_ns = self._at_ns
        self._exchange.error = error
        if error is not None:
            self.close()
        self._done.set_result(None)
