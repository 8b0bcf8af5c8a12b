"""The same exchange over a plain socket, for drivers that give every user a thread or a greenlet.

Bytes get the kernel's stamps, as in `loadgen.client.wire`, so that a read that waits for its greenlet's turn is not stamped late; but
encrypted bytes have no stamp, and a request leaves when its greenlet's turn comes.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Self
from urllib.parse import urlsplit

import httptools

from loadgen.client.exchange import NOT_HTTP, Exchange, is_interim, not_http
from loadgen.client.kernel_stamps import ANCILLARY_BYTES, ArrivalClock, ask_for_stamps, unpack_stamp
from loadgen.endpoint import Endpoint

_READ_BYTES = 65536
_CONNECT_S = 30.0


class BlockingClient:
    """One connection at a time, kept for the next request. Use as a context manager."""

    def __init__(self, endpoint: Endpoint, clock: ArrivalClock) -> None:
        self._endpoint, self._clock = endpoint, clock
        self._tls = endpoint.tls()
        host = urlsplit(endpoint.url).netloc.rpartition("@")[2] or "localhost"
        self._head = f"Host: {host}\r\n{endpoint.own_headers}Content-Type: application/json\r\n"
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, path: str, body: bytes) -> Exchange:
        """Send a request and wait for the end of its answer. Failures are in the exchange, never raised."""
        request = f"POST {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        kept = self._socket is not None
        exchange = self._exchange(request)
        if kept and exchange.error is not None and exchange.headers_ns is None and self._dropped:
            exchange = self._exchange(request)  # the server had closed an idle connection: that request never was
        return exchange

    def _exchange(self, request: bytes) -> Exchange:
        self._dropped = False
        try:
            sock = self._socket or self._connect()
        except OSError as error:
            return Exchange(end_ns=time.monotonic_ns(), error=f"no connection: {error or type(error).__name__}")
        self._socket = sock
        exchange = Exchange(sent_ns=time.monotonic_ns())
        answer = _Answer(exchange)
        deadline = time.monotonic() + self._endpoint.timeout_s
        timed_out = f"no end of the answer within {self._endpoint.timeout_s:g} s"
        try:
            sock.sendall(request)
            while not answer.ended:
                left, idle_s = deadline - time.monotonic(), self._endpoint.idle_timeout_s
                if exchange.body and idle_s is not None and idle_s < left:
                    left, timed_out = idle_s, f"nothing read for {idle_s:g} s within the answer"
                sock.settimeout(max(left, 1e-3))
                answer.feed(*self._read(sock))
        except TimeoutError:
            exchange.error = timed_out
        except OSError as error:
            exchange.error = None if exchange.said_done else f"the connection was lost: {error}"
            self._dropped = True
        except NOT_HTTP as error:
            exchange.error = not_http(error)
        exchange.end_ns = time.monotonic_ns() if exchange.error else answer.at_ns
        if exchange.error or not answer.keeps:
            self.close()
        return exchange

    def _read(self, sock: socket.socket) -> tuple[bytes, int, int]:
        """(bytes, when they came, how much later they were read or -1)."""
        if self._tls is not None:
            data = sock.recv(_READ_BYTES)
            return data, time.monotonic_ns(), -1
        data, stamps, _, _ = sock.recvmsg(_READ_BYTES, ANCILLARY_BYTES)
        now = time.monotonic_ns()
        if not stamps:
            return data, now, -1
        seconds, nanoseconds = unpack_stamp(stamps[0][2])
        arrived = self._clock.arrival((seconds, nanoseconds), now)
        return data, arrived, now - arrived

    def _connect(self) -> socket.socket:
        if self._endpoint.socket_path is not None:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(self._endpoint.socket_path)
            return sock
        parts = urlsplit(self._endpoint.url)
        port = parts.port or (443 if self._tls else 80)
        sock = socket.create_connection((parts.hostname or "", port), timeout=_CONNECT_S)
        with contextlib.ExitStack() as undo:
            undo.callback(sock.close)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_hostname=parts.hostname)
            else:
                ask_for_stamps(sock)
            undo.pop_all()
        return sock


class _Answer:
    """httptools' callbacks: fills an exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self.ended = self.keeps = False
        self.at_ns = 0
        self._exchange = exchange
        self.on_body = exchange.body.extend
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes, at_ns: int, lag_ns: int) -> None:
        """Take what was read; nothing is the end of the connection."""
        self.at_ns = at_ns
        if data:
            try:
                self._parser.feed_data(data)
            finally:
                self._exchange.note_read(at_ns, lag_ns)
        elif self._exchange.headers_ns is not None and not self._exchange.framed:
            self.ended = True
        else:
            raise ConnectionResetError("closed by the server")

    def on_message_begin(self) -> None:
        self._exchange.framed = False  # also of the answer proper after an interim one

    def on_header(self, name: bytes, value: bytes) -> None:
        self._exchange.take_header(name, value)

    def on_headers_complete(self) -> None:
        self._exchange.take_status(self._parser.get_status_code(), self.at_ns)

    def on_message_complete(self) -> None:
        if not is_interim(self._parser.get_status_code()):
            self.ended, self.keeps = True, self._parser.should_keep_alive()
