"""The measured stream's client: HTTP/1.1 on asyncio, each read stamped before it is looked at.

httpx and aiohttp spend tens of microseconds on every event, and a client that is busy parsing stamps the next event late.
Here a read costs a clock call, httptools' C parser and one list append; what the bytes mean is found out afterwards
(`loadgen.sse`). Proxies from the environment are not used: a proxy would be measured too.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import time
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

import httptools

from loadgen.endpoint import Endpoint

_CONNECT_S = 30.0


@dataclass(slots=True)
class Exchange:
    """One request and what came back. Times are monotonic nanoseconds; `reads` are body bytes as they were read."""

    sent_ns: int | None = None
    headers_ns: int | None = None
    end_ns: int | None = None
    status: int | None = None
    reads: list[tuple[int, bytes]] = field(default_factory=list)
    error: str | None = None

    @property
    def body(self) -> bytes:
        """Everything that was read, headers excluded."""
        return b"".join(data for _, data in self.reads)


class _Connection(asyncio.Protocol):
    """One keep-alive connection: one exchange at a time."""

    def __init__(self) -> None:
        self.usable = False
        self.dropped = False  # closed by the server before a byte of the answer
        self._framed = False  # the answer says where it ends; else its end is that of the connection
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._exchange = Exchange()
        self._done: asyncio.Future[None] | None = None
        self._read_ns = 0

    def send(self, request: bytes) -> tuple[Exchange, asyncio.Future[None]]:
        """Write a request; the future is done when the answer has ended, well or not."""
        assert self._transport is not None  # noqa: S101 - made by create_connection
        self._parser = httptools.HttpResponseParser(self)
        self._exchange = Exchange()
        self._done = asyncio.get_running_loop().create_future()
        self._read_ns = 0
        self._exchange.sent_ns = time.monotonic_ns()
        self._transport.write(request)
        return self._exchange, self._done

    def close(self) -> None:
        """Drop the connection, and with it whatever the server is still writing."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # stream connections get a Transport
        self.usable = True

    def data_received(self, data: bytes) -> None:
        self._read_ns = time.monotonic_ns()
        if self._parser is None or self._done is None or self._done.done():
            self.close()  # it talks out of turn
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._finish(f"the answer is not HTTP: {error}")
            self.close()  # also where the answer was whole and more came after it

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self.dropped = self._read_ns == 0
        self._read_ns = time.monotonic_ns()
        if exc is None and self._exchange.headers_ns is not None and not self._framed:
            self._finish(None)
        else:
            self._finish(f"the connection was lost: {exc or 'closed by the server'}")

    # httptools

    def on_message_begin(self) -> None:
        if self._done is None or self._done.done():
            raise httptools.HttpParserError("an answer nobody asked for")
        self._framed = False

    def on_header(self, name: bytes, _: bytes) -> None:
        if name.lower() in {b"content-length", b"transfer-encoding"}:
            self._framed = True

    def on_headers_complete(self) -> None:
        assert self._parser is not None  # noqa: S101 - it is calling
        self._exchange.status = self._parser.get_status_code()
        self._exchange.headers_ns = self._read_ns

    def on_body(self, body: bytes) -> None:
        self._exchange.reads.append((self._read_ns, body))

    def on_message_complete(self) -> None:
        assert self._parser is not None  # noqa: S101 - it is calling
        if (self._exchange.status or 0) < http.HTTPStatus.OK:
            return  # an interim answer, such as 103 Early Hints; the real one follows
        keep = self._parser.should_keep_alive()
        self._finish(None)
        if not keep:
            self.close()

    def _finish(self, error: str | None) -> None:
        if self._done is None or self._done.done():
            return
        self._exchange.end_ns = self._read_ns
        self._exchange.error = error
        if error is not None:
            self.close()
        self._done.set_result(None)


class WireClient:
    """Sends requests to one endpoint over as many connections as are in flight, and keeps them for the next.

    Use as an async context manager; leaving it closes every connection.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        parts = urlsplit(endpoint.url)
        self._host = parts.hostname or ""
        self._tls = endpoint.tls()
        self._port = parts.port or (443 if self._tls else 80)
        self._timeout_s = endpoint.timeout_s
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()
        key = f"Authorization: Bearer {endpoint.api_key}\r\n" if endpoint.api_key else ""
        self._head = f"Host: {parts.netloc}\r\n{key}Content-Type: application/json\r\nContent-Length: "

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._all:
            connection.close()
        await asyncio.sleep(0)  # aborted transports let go of their sockets in the loop's next round

    def request(self, path: str, body: bytes) -> bytes:
        """The bytes of a POST, made before they are needed."""
        return f"POST {path} HTTP/1.1\r\n{self._head}{len(body)}\r\n\r\n".encode() + body

    async def send(self, request: bytes) -> Exchange:
        """Send a request and wait for the end of its answer. Failures are told in the exchange, never raised."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.usable:
                continue
            exchange = await self._exchange(connection, request)
            if exchange.error is None or not connection.dropped:
                return exchange
            # The server has closed an idle connection just as we wrote: that request never was. Take another.
        try:
            connection = await self._connect()
        except (OSError, TimeoutError) as error:
            now = time.monotonic_ns()
            return Exchange(end_ns=now, error=f"no connection: {error or type(error).__name__}")
        return await self._exchange(connection, request)

    async def open(self, connections: int) -> None:
        """Connect ahead, so that no measured request pays for it. Failures are left to the requests to tell."""
        with contextlib.suppress(OSError, TimeoutError):
            self._idle += [await self._connect() for _ in range(connections - len(self._idle))]

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        name = self._host if self._tls else None
        async with asyncio.timeout(_CONNECT_S):
            _, connection = await loop.create_connection(
                _Connection, self._host, self._port, ssl=self._tls, server_hostname=name
            )
        self._all.add(connection)
        return connection

    async def _exchange(self, connection: _Connection, request: bytes) -> Exchange:
        exchange, done = connection.send(request)
        try:
            async with asyncio.timeout(self._timeout_s):
                await done
        except TimeoutError:
            exchange.error = f"no end of the answer within {self._timeout_s:g} s"
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
