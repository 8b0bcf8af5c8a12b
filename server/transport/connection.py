"""One client's connection: uvicorn's HTTP protocol with limits on time and memory.

    headers        at most MAX_HEADER_BYTES (400), complete within `receive_timeout_s` of their first byte (408)
    body           limited by the endpoint; the rest of one that is already answered has `receive_timeout_s` to end
    answer         unread for `send_timeout_s`, it ends the connection and the request
    pipelining     at most MAX_PIPELINED requests wait for the one before them; a client that disconnects also ends the running one

Uvicorn itself has no limit on any of these. A request that is no HTTP gets its error in OpenAI's shape too.

This is the only module that uses uvicorn, and what it overrides and reads of its classes is not public: pyproject.toml bounds
the version, and tests/server/test_private_names.py fails when a name moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.errors import ApiError
from server.settings import ServeSettings
from server.transport.write_batching import BatchedWrites, WriteBatch

MAX_HEADER_BYTES = 64 * 1024  # request line and headers
MAX_PIPELINED = 128
# An idle connection is kept longer than any pause of an open-loop client, which would else send into a closing one.
_KEEP_ALIVE_S = 120
_STATUS = {400: b"400 Bad Request", 408: b"408 Request Timeout"}


def http_server(app: ASGIApp, settings: ServeSettings) -> uvicorn.Server:
    """A server of `app` that leaves signals to its caller; `serve(sockets=…)` runs it until `should_exit` is set."""
    limits = {"receive_s": settings.receive_timeout_s, "send_s": settings.send_timeout_s, "batch": WriteBatch()}
    return _Server(
        uvicorn.Config(
            app,
            http=type("LimitedConnection", (Connection,), limits),
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            # `serve` aborts requests first, with an error for their clients; this deadline is for any that remain.
            timeout_graceful_shutdown=round(settings.shutdown_grace_s) + 5,
        )
    )


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: it would raise the signal again once stopped, and so set the exit status."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Connection(HttpToolsProtocol):
    """See the module's text. Times are seconds."""

    receive_s: ClassVar[float]
    send_s: ClassVar[float]
    batch: ClassVar[WriteBatch]  # of the loop that all connections of this class share

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline of the first request."""
        super().connection_made(BatchedWrites(transport, self.batch))
        self._in_headers = True  # or between requests
        self._header_bytes = 0
        self._fault = "this is not an HTTP/1.1 request"
        self._answered: RequestResponseCycle | None = None  # the request that is being answered, or was last
        self._stalled: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = self.loop.call_later(self.receive_s, self._on_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the running request, also when pipelined requests follow it."""
        self._stop_clock()
        if self._stalled is not None:
            self._stalled.cancel()
        self._end_request()
        super().connection_lost(exc)

    # Receiving

    def data_received(self, data: bytes) -> None:
        """Count the bytes of headers; empty lines before a request count too."""
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if not self._in_headers or self.transport.is_closing():
            return  # within a body, or refused
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(ApiError(400, _TOO_LONG))
        elif len(self.pipeline) > MAX_PIPELINED:
            self._refuse(ApiError(400, f"more than {MAX_PIPELINED} requests were sent before the first was answered"))
        elif self._deadline is None and not self._is_answering():
            self._deadline = self.loop.call_later(self.receive_s, self._on_timeout)

    def on_headers_complete(self) -> None:
        """Raises ValueError, which the parser turns into a refusal, for too much in one block."""
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEADER_BYTES:
            self._fault = _TOO_LONG
            raise ValueError(_TOO_LONG)
        super().on_headers_complete()
        self._in_headers = False
        self._header_bytes = 0
        self._stop_clock()

    def on_message_complete(self) -> None:
        """The next bytes are another request's headers."""
        self._in_headers = True
        self._stop_clock()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own text
        """Uvicorn's answer to what the parser refuses."""
        self._refuse(ApiError(400, self._fault))

    # Answering

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cycle
        # For events in the middle of a stream, past the layers that would only pass them on.
        cycle.scope["state"]["write"] = partial(_write, cycle)
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Bound the rest of a body that is not needed, and a last answer that is not read."""
        unread = self._answered is not None and self._answered.more_body
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()
        elif unread:
            self._deadline = self.loop.call_later(self.receive_s, self._on_timeout)

    def pause_writing(self) -> None:
        """More than the transport's high-water mark (64 KiB) waits for the client to read."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self.send_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read most of it."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was idle for too long."""
        self._close()

    # Ending

    def _is_answering(self) -> bool:
        return self._answered is not None and not self._answered.response_complete

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_timeout(self) -> None:
        self._refuse(ApiError(408, f"the request did not arrive within {self.receive_s:g} s"))

    def _refuse(self, error: ApiError) -> None:
        """Close, after sending the error if the request it concerns has no answer yet."""
        cycle = self._answered
        if cycle is None or not cycle.response_started or (cycle.response_complete and self._in_headers):
            body = error.body()
            self.transport.write(
                b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (_STATUS[error.status], len(body), body)
            )
        self._end_request()
        self.pipeline.clear()
        self._close()

    def _end_request(self) -> None:
        if self._answered is not None and self._is_answering():
            self._answered.disconnected = True
            self._answered.message_event.set()

    def _close(self) -> None:
        """Close once all is sent, or after `send_s` if the client does not read it."""
        self.transport.close()
        self.loop.call_later(self.send_s, self.transport.abort)


_TOO_LONG = f"the request line and headers are longer than the {MAX_HEADER_BYTES} bytes this server takes"


def _write(cycle: RequestResponseCycle, event: bytes) -> bool:
    """`cycle.send` for the middle of a body; False where `send` is needed: to wait, or before the body."""
    if not cycle.chunked_encoding or cycle.flow.write_paused or cycle.disconnected:
        return False
    cycle.transport.write(b"%x\r\n%b\r\n" % (len(event), event))
    return True
