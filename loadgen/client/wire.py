"""The measured streams' client: HTTP/1.1 over plain sockets on uvloop's loop.

httpx and aiohttp spend tens of microseconds on every event, and a client that is busy parsing stamps the next event late.
asyncio's transports hide `recvmsg` and with it the kernel's own stamps, so there are none (`benchmarks/load/reading.py` has what either
costs); sockets that are stamped need not be read immediately, and are read together (`loadgen.client.polling`). Proxies from the
environment are not used: a proxy would be measured too.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any, Self

from loadgen.client.connection import Connection
from loadgen.client.exchange import Exchange
from loadgen.client.kernel_stamps import ArrivalClock, ask_for_stamps
from loadgen.client.polling import ReadySockets
from loadgen.client.tls import TlsSession
from loadgen.endpoint import Endpoint

_CONNECT_S = 30.0
_CONNECT_TOGETHER = 64  # connections opened together, when connecting ahead: in sequence, each takes a round trip
_READ_BYTES = 65536


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
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._head = (
            f"Host: {endpoint.host_header}\r\n{endpoint.own_headers}Content-Type: application/json\r\nContent-Length: "
        )

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
        """Send a request and wait for the end of its answer. Failures are in the exchange, never raised.

        `begun` gets the exchange as soon as it is sent, to `take` parts of the answer before its end.
        """
        while True:
            fresh, connection = False, self._take_idle()
            if connection is None:
                try:
                    fresh, connection = True, await self._connect()
                except (OSError, TimeoutError) as error:
                    now = time.monotonic_ns()
                    return Exchange(end_ns=now, error=f"no connection: {error or type(error).__name__}")
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
            if fresh or exchange.error is None or not connection.dropped:
                return exchange
            # The server has closed an idle connection just as we wrote: that request never was. Take another.

    def _take_idle(self) -> Connection | None:
        """A kept connection that is still open."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            self._all.discard(connection)
        return None

    async def open(self, connections: int) -> None:
        """Connect ahead, so that no measured request pays for it. Requests report the failures."""
        missing = connections - len(self._idle)
        while missing > 0:
            together = [self._connect() for _ in range(min(_CONNECT_TOGETHER, missing))]
            opened = await asyncio.gather(*together, return_exceptions=True)
            self._idle += [each for each in opened if isinstance(each, Connection)]
            if any(isinstance(each, BaseException) for each in opened):
                return
            missing -= len(opened)

    async def _connect(self) -> Connection:
        async with asyncio.timeout(_CONNECT_S):
            opened, stamped = await self._open_socket()
            tls = TlsSession(self._tls, self._endpoint.host) if self._tls else None
            try:
                if tls is not None:
                    await tls.handshake(opened)
            except BaseException:
                opened.close()
                raise
        connection = Connection(opened, tls, self.clock, self._buffer, self._ready, stamped=stamped)
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

    async def _end_without_pause(
        self, connection: Connection, exchange: Exchange, done: asyncio.Future[None], idle_s: float
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
