"""One request and its answer, as bytes with their times; the same for both drivers."""

from __future__ import annotations

import itertools
from array import array
from dataclasses import dataclass, field

import httptools

from loadgen.answers.stream_end import error_of

_TAIL_BYTES = 32  # has `data: [DONE]` and its line ends
OK = 200  # a number: a member of `http.HTTPStatus` takes a tenth of the time that a chunk does
_OTHER_BYTES = 65536  # kept of an answer whose status is not 200
NOT_HTTP = (httptools.HttpParserError, httptools.HttpParserUpgrade)  # the second is no kind of the first


@dataclass(slots=True)
class Exchange:
    """One request and its answer. Times are monotonic nanoseconds, the kernel's where it stamps. `came` is the body, read by
    read: the time, by how much later the client read (-1 where there is no stamp), and the bytes.
    """

    sent_ns: int | None = None
    headers_ns: int | None = None
    end_ns: int | None = None
    status: int | None = None
    error: str | None = None
    came: list[tuple[int, int, bytes]] = field(default_factory=list)
    taken: bool = False  # some of the body already
    tail: bytes = b""  # of what was taken
    retry_after: str | None = None
    message: bytes | None = None  # that the answer is, as JSON, where a conversation carries it on
    framed: bool = False  # the answer says where it ends; else its end is that of the connection

    @property
    def reads(self) -> list[tuple[int, bytes]]:
        """(when, bytes) of every read, headers excluded."""
        return [(at_ns, data) for at_ns, _, data in self.came]

    @property
    def body(self) -> bytes:
        """All of it that was not taken."""
        return b"".join(data for *_, data in self.came)

    @property
    def said_done(self) -> bool:
        """Whether a stream's end marker has arrived: a body that breaks off behind it is complete."""
        end = self.tail + self.body[-_TAIL_BYTES:]
        return self.status == OK and end.rstrip().endswith(b"[DONE]")

    def take_header(self, name: bytes, value: bytes) -> None:
        """Note whether the answer says where it ends, and its Retry-After."""
        name = name.lower()
        if name in {b"content-length", b"transfer-encoding"}:
            self.framed = True
        elif name == b"retry-after":
            self.retry_after = value.decode("latin-1")

    def take_status(self, status: int, at_ns: int) -> None:
        """The headers have come; those of an interim answer are skipped."""
        if not is_interim(status):
            self.status, self.headers_ns = status, at_ns

    def add(self, read: tuple[int, int, bytes]) -> None:
        """More of the body; of an answer that is no stream the beginning is enough."""
        if self.status == OK or len(self.body) < _OTHER_BYTES:
            self.came.append(read)

    def take(self) -> tuple[bytes, bytes, bytes, bytes]:
        """(at_ns, lag_ns, ends, body) so far, as bytes; it starts anew."""
        if not self.came:
            return b"", b"", b"", b""
        at_ns, lag_ns, pieces = zip(*self.came, strict=True)
        self.came.clear()
        self.taken = True
        body = b"".join(pieces)
        self.tail = (self.tail + body[-_TAIL_BYTES:])[-_TAIL_BYTES:]
        ends = itertools.accumulate(map(len, pieces))
        return array("q", at_ns).tobytes(), array("q", lag_ns).tobytes(), array("q", ends).tobytes(), body


def is_interim(status: int) -> bool:
    """Whether the answer proper follows, as after 103 Early Hints (after 101 there is none, which `NOT_HTTP` says)."""
    return status < OK


def not_http(error: Exception) -> str:
    """What an exception of `NOT_HTTP` says of the answer."""
    if isinstance(error, httptools.HttpParserUpgrade):
        return "the server switched to another protocol"
    return f"the answer is not HTTP: {error}"


def wire_error(exchange: Exchange) -> str | None:
    """What went wrong, as far as it shows without reading the stream."""
    if exchange.error is not None or exchange.status in {None, OK}:
        return exchange.error
    return error_of(exchange.status or 0, exchange.body, exchange.retry_after)
