"""One request and its answer, as bytes with their times; the same for both drivers."""

from __future__ import annotations

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
    """One request and its answer. Times are monotonic nanoseconds, the kernel's where it stamps.

    `body` is what has come of it and was not taken; `at_ns`, `lag_ns` and `ends` have an entry for every read that brought some:
    the time, by how much later the client read (-1 where there is no stamp), and the length of `body` after it. Arrays, since the
    garbage collector would look through a million tuples.
    """

    sent_ns: int | None = None
    headers_ns: int | None = None
    end_ns: int | None = None
    status: int | None = None
    error: str | None = None
    body: bytearray = field(default_factory=bytearray)
    at_ns: array[int] = field(default_factory=lambda: array("q"))
    lag_ns: array[int] = field(default_factory=lambda: array("q"))
    ends: array[int] = field(default_factory=lambda: array("q"))
    taken: bool = False  # some of the body already
    tail: bytes = b""  # of what was taken
    retry_after: str | None = None
    message: bytes | None = None  # that the answer is, as JSON, where a conversation carries it on
    calls: tuple[str, ...] = ()  # the ids of the calls of tools in that message
    framed: bool = False  # the answer says where it ends; else its end is that of the connection

    @property
    def reads(self) -> list[tuple[int, bytes]]:
        """(when, bytes) of every read, headers excluded."""
        starts = [0, *self.ends]
        return [(at, bytes(self.body[a:b])) for at, a, b in zip(self.at_ns, starts, self.ends, strict=False)]

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

    def note_read(self, at_ns: int, lag_ns: int) -> None:
        """Something was read, and the parser has put into `body` what it held of that; of a refusal the beginning is enough."""
        end = len(self.body)
        if end == (self.ends[-1] if self.ends else 0):
            return
        if self.status != OK and end > _OTHER_BYTES:
            del self.body[_OTHER_BYTES:]
            return
        self.at_ns.append(at_ns)
        self.lag_ns.append(lag_ns)
        self.ends.append(end)

    def take(self) -> tuple[bytes, bytes, bytes, bytes]:
        """(at_ns, lag_ns, ends, body) so far, as bytes; it starts anew."""
        if self.body:
            self.taken = True
            self.tail = (self.tail + self.body[-_TAIL_BYTES:])[-_TAIL_BYTES:]
        taken = self.at_ns.tobytes(), self.lag_ns.tobytes(), self.ends.tobytes(), bytes(self.body)
        for each in (self.at_ns, self.lag_ns, self.ends, self.body):
            del each[:]
        return taken


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
    return error_of(exchange.status or 0, bytes(exchange.body), exchange.retry_after)
