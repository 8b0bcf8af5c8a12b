"""The measured stream's client: HTTP/1.1 over sockets of its own on uvloop's loop, each read stamped before it is looked at.

httpx and aiohttp spend tens of microseconds on every event, and a client that is busy parsing stamps the next event late.
Here a read costs `recvmsg`, httptools' C parser and a few appends; what the bytes mean is found out elsewhere (`loadgen.answers.sse`).
asyncio's transports hide `recvmsg` and with it the kernel's own stamps, so there are none (`benchmarks/reading.py` has what either
costs); sockets that are stamped need not be read at once, and are read together (`loadgen.client.polling`). Proxies from the environment are
not used: a proxy would be measured too.
"""

from __future__ import annotations

import asyncio
import http
import socket
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import httptools

from loadgen.client.kernel_stamps import ANCILLARY_BYTES, ArrivalClock, ask_for_stamps, unpack_stamp
from loadgen.client.polling import ReadySockets
from loadgen.client.tls import TlsSession
from loadgen.endpoint import Endpoint

_CONNECT_S = 30.0
_CONNECT_TOGETHER = 64  # at once, when connecting ahead: one after another takes a round trip each
_READ_BYTES = 65536
_TAIL_BYTES = 32  # has `data: [DONE]` and its line ends
_OTHER_BYTES = 65536  # kept of an answer whose status is not 200
NOT_HTTP = (httptools.HttpParserError, httptools.HttpParserUpgrade)  # the second is no kind of the first


@dataclass(slots=True)
class Exchange:
    """One request and what came back. Times are monotonic nanoseconds, the kernel's where it stamps; `lag_ns` is how much
    later than that the client read, -1 where there is no stamp. Body bytes are kept read by read: `ends` counts them.
    """

    sent_ns: int | None = None
    headers_ns: int | None = None
    end_ns: int | None = None
    status: int | None = None
    error: str | None = None
    at_ns: array[int] = field(default_factory=lambda: array("q"))
    lag_ns: array[int] = field(default_factory=lambda: array("q"))
    ends: array[int] = field(default_factory=lambda: array("q"))
    body: bytearray = field(default_factory=bytearray)
    taken: bool = False  # some of the body already
    tail: bytes = b""  # of what was taken
    retry_after: str | None = None

    @property
    def reads(self) -> list[tuple[int, bytes]]:
        """(when, bytes) of every read, headers excluded."""
        starts = [0, *self.ends[:-1]] if self.ends else []
        return [(at, bytes(self.body[a:b])) for at, a, b in zip(self.at_ns, starts, self.ends, strict=True)]

    @property
    def said_done(self) -> bool:
        """Whether a stream's last word has come: a body that breaks off behind it lacks nothing."""
        end = self.tail + bytes(self.body[-_TAIL_BYTES:])
        return self.status == http.HTTPStatus.OK and end.rstrip().endswith(b"[DONE]")

    def add(self, body: bytes) -> None:
        """More of the body; of an answer that is no stream the beginning is enough."""
        if self.status == http.HTTPStatus.OK or len(self.body) < _OTHER_BYTES:
            self.body += body

    def take(self) -> tuple[bytes, bytes, bytes, bytes]:
        """(at_ns, lag_ns, ends, body) so far, as bytes; it starts anew."""
        self.taken = self.taken or bool(self.body)
        self.tail = (self.tail + bytes(self.body[-_TAIL_BYTES:]))[-_TAIL_BYTES:]
        taken = self.at_ns.tobytes(), self.lag_ns.tobytes(), self.ends.tobytes(), bytes(self.body)
        self.at_ns, self.lag_ns, self.ends, self.body = array("q"), array("q"), array("q"), bytearray()
        return taken


def is_interim(status: int) -> bool:
    """Whether the answer proper follows, as after 103 Early Hints (after 101 there is none, which `NOT_HTTP` says)."""
    return status < http.HTTPStatus.OK


def not_http(error: Exception) -> str:
    """What an exception of `NOT_HTTP` says of the answer."""
    if isinstance(error, httptools.HttpParserUpgrade):
        return "the server switched to another protocol"
    return f"the answer is not HTTP: {error}"


class _Connection:
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
        self._buffers, self._view = [buffer], memoryview(buffer)
        self._loop = asyncio.get_running_loop()
        self._unsent = b""
        self._framed = False  # the answer says where it ends; else its end is that of the connection
        self._parser: httptools.HttpResponseParser | None = None
        self._exchange = Exchange()
        self._done: asyncio.Future[None] | None = None
        self._at_ns = self._lag_ns = 0
        self._ready = ready
        ready.add(opened.fileno(), self._readable, can_wait=stamped)

    def send(self, request: bytes) -> tuple[Exchange, asyncio.Future[None]]:
        """Write a request; the future is done when the answer has ended, well or not."""
        self._parser = httptools.HttpResponseParser(self)
        self._exchange = Exchange()
        self._done = self._loop.create_future()
        self._at_ns = 0
        self._exchange.sent_ns = time.monotonic_ns()
        self._write(self._tls.seal(request) if self._tls else request)
        return self._exchange, self._done

    @property
    def read_ns(self) -> int:
        """When the last bytes came; 0 before the first."""
        return self._at_ns

    def close(self) -> None:
        """Drop the connection, and with it whatever the server is still writing."""
        self.usable = False
        if self._socket.fileno() >= 0:
            self._ready.remove(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()

    # the socket

    def _readable(self) -> None:
        try:
            length, stamps, _, _ = self._socket.recvmsg_into(self._buffers, ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error)
            return
        read_ns = time.monotonic_ns()
        if not length:
            self._lost(None)
            return
        if stamps:
            arrived = self._clock.arrival(unpack_stamp(stamps[0][2]), read_ns)
            self._at_ns = max(arrived, self._at_ns)  # also where the wall clock was set back between two reads
            self._lag_ns = read_ns - self._at_ns
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
        if self._parser is None or self._done is None or self._done.done():
            self.close()  # it talks out of turn
            return
        try:
            self._parser.feed_data(data)
        except NOT_HTTP as error:
            self._finish(not_http(error))
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
            return  # reading will tell
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
        self._at_ns = time.monotonic_ns()
        unframed = error is None and self._exchange.headers_ns is not None and not self._framed
        if unframed or self._exchange.said_done:
            self._finish(None)
        else:
            self._finish(f"the connection was lost: {error or 'closed by the server'}")

    # httptools

    def on_message_begin(self) -> None:
        if self._done is None or self._done.done():
            raise httptools.HttpParserError("an answer nobody asked for")
        self._framed = False

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in {b"content-length", b"transfer-encoding"}:
            self._framed = True
        elif name == b"retry-after":
            self._exchange.retry_after = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        assert self._parser is not None  # noqa: S101 - it is calling
        if is_interim(status := self._parser.get_status_code()):
            return
        self._exchange.status = status
        self._exchange.headers_ns = self._at_ns

    def on_body(self, body: bytes) -> None:
        exchange = self._exchange
        exchange.add(body)
        exchange.at_ns.append(self._at_ns)
        exchange.lag_ns.append(self._lag_ns)
        exchange.ends.append(len(exchange.body))

    def on_message_complete(self) -> None:
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
        self._exchange.end_ns = self._at_ns
        self._exchange.error = error
        if error is not None:
            self.close()
        self._done.set_result(None)


class WireClient:
    """Sends requests to one endpoint over as many connections as are in flight, and keeps them for the next.

    Use as an async context manager; leaving it closes every connection.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.clock = ArrivalClock()
        self._endpoint = endpoint
        self._tls = endpoint.tls()
        self._timeout_s, self._idle_s = endpoint.timeout_s, endpoint.idle_timeout_s
        self._addresses: list[tuple[int, Any]] = []  # family, address
        self._buffer = bytearray(_READ_BYTES)
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()
        key = f"Authorization: Bearer {endpoint.api_key}\r\n" if endpoint.api_key else ""
        self._head = f"Host: {endpoint.host_header}\r\n{key}Content-Type: application/json\r\nContent-Length: "

    async def __aenter__(self) -> Self:
        self._ready = ReadySockets()
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._all:
            connection.close()
        self._ready.close()

    def request(self, path: str, body: bytes) -> bytes:
        """The bytes of a POST, made before they are needed."""
        return f"POST {path} HTTP/1.1\r\n{self._head}{len(body)}\r\n\r\n".encode() + body

    async def send(self, request: bytes, begun: Callable[[Exchange], None] | None = None) -> Exchange:
        """Send a request and wait for the end of its answer. Failures are told in the exchange, never raised.

        `begun` gets the exchange as soon as it is sent, to `take` what has come before it is whole.
        """
        while self._idle:
            connection = self._idle.pop()
            if not connection.usable:
                self._all.discard(connection)
                continue
            exchange = await self._exchange(connection, request, begun)
            if exchange.error is None or not connection.dropped:
                return exchange
            # The server has closed an idle connection just as we wrote: that request never was. Take another.
        try:
            connection = await self._connect()
        except (OSError, TimeoutError) as error:
            now = time.monotonic_ns()
            return Exchange(end_ns=now, error=f"no connection: {error or type(error).__name__}")
        return await self._exchange(connection, request, begun)

    async def open(self, connections: int) -> None:
        """Connect ahead, so that no measured request pays for it. Failures are left to the requests to tell."""
        missing = connections - len(self._idle)
        while missing > 0:
            together = [self._connect() for _ in range(min(_CONNECT_TOGETHER, missing))]
            opened = await asyncio.gather(*together, return_exceptions=True)
            self._idle += [each for each in opened if isinstance(each, _Connection)]
            if any(isinstance(each, BaseException) for each in opened):
                return
            missing -= len(opened)

    async def _connect(self) -> _Connection:
        async with asyncio.timeout(_CONNECT_S):
            opened, stamped = await self._open_socket()
            tls = TlsSession(self._tls, self._endpoint.host) if self._tls else None
            try:
                if tls is not None:
                    await tls.handshake(opened)
            except BaseException:
                opened.close()
                raise
        connection = _Connection(opened, tls, self.clock, self._buffer, self._ready, stamped=stamped)
        self._all.add(connection)
        return connection

    async def _open_socket(self) -> tuple[socket.socket, bool]:
        """Connected to the first of the host's addresses that answers, and whether the kernel stamps what comes.

        Raises OSError, the last address's.
        """
        failure: OSError = OSError(f"{self._endpoint.host}: has no address")
        for family, address in self._addresses or await self._resolve():
            opened = socket.socket(family, socket.SOCK_STREAM)
            try:
                opened.setblocking(False)
                stamped = ask_for_stamps(opened)
                if family != socket.AF_UNIX:
                    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await asyncio.get_running_loop().sock_connect(opened, address)
            except OSError as error:
                opened.close()
                failure = error
            except BaseException:
                opened.close()
                raise
            else:
                self._addresses = [(family, address)]
                return opened, stamped
        raise failure

    async def _resolve(self) -> list[tuple[int, Any]]:
        if self._endpoint.socket_path is not None:
            return [(socket.AF_UNIX, self._endpoint.socket_path)]
        found = await asyncio.get_running_loop().getaddrinfo(
            self._endpoint.host, self._endpoint.port, type=socket.SOCK_STREAM
        )
        return [(family, address) for family, _, _, _, address in found]

    async def _exchange(
        self, connection: _Connection, request: bytes, begun: Callable[[Exchange], None] | None
    ) -> Exchange:
        exchange, done = connection.send(request)
        if begun is not None:
            begun(exchange)
        try:
            if self._idle_s is None:
                async with asyncio.timeout(self._timeout_s):
                    await done
            else:
                await self._end_without_pause(connection, exchange, done, self._idle_s)
        except TimeoutError as error:
            exchange.error = str(error) or f"no end of the answer within {self._timeout_s:g} s"
            exchange.end_ns = time.monotonic_ns()
            connection.close()
        except asyncio.CancelledError:
            connection.close()
            raise
        if connection.usable:
            self._idle.append(connection)
        else:
            self._all.discard(connection)
        return exchange

    async def _end_without_pause(
        self, connection: _Connection, exchange: Exchange, done: asyncio.Future[None], idle_s: float
    ) -> None:
        """Wait for the end of an answer. Raises TimeoutError past the deadline, or if nothing is read for `idle_s` once its
        body has begun.
        """
        deadline = time.monotonic() + self._timeout_s
        while not done.done():
            begun = bool(exchange.body) or exchange.taken
            idle_at = (connection.read_ns / 1e9 if begun else time.monotonic()) + idle_s
            left = min(deadline, idle_at) - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"nothing read for {idle_s:g} s within the answer" if idle_at < deadline else "")
            await asyncio.wait([done], timeout=left)
