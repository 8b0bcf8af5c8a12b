"""Answers that have ended and are not read yet: reading them waits until nothing is being timed.

Reading an answer of 128 tokens takes about a millisecond, and answers end together: done at once, a hundred of them would
stamp everything else up to a tenth of a second late. So it is left for after the trial. Only where the answers would not fit
in memory are some read meanwhile, in slices so short that no stamp suffers.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence

from loadgen.listed import reading_list
from loadgen.records import RequestRecord
from loadgen.sse import Answer, reading
from loadgen.wire import Exchange

_ROOM_BYTES = 64 * 1024 * 1024  # of answers: 200,000 tokens or so, with as much again for their times
_SLICE_NS = 200_000


class Backlog:
    """First in, first read. `room_bytes`: from how much on answers are read while others are still under way."""

    def __init__(self, room_bytes: int = _ROOM_BYTES) -> None:
        self._room_bytes = room_bytes
        self._waiting: deque[tuple[Sequence[RequestRecord], Exchange, int]] = deque()
        self._bytes = 0
        self._reading: Iterator[None] | None = None

    @property
    def waiting_bytes(self) -> int:
        """Of the answers not yet read."""
        return self._bytes

    def add(self, records: Sequence[RequestRecord], exchange: Exchange) -> None:
        """Keep an answer to fill in its records later: several where one request had a list of prompts."""
        size = sum(len(data) for _, data in exchange.reads)
        self._waiting.append((records, exchange, size))
        self._bytes += size

    def read_all(self) -> None:
        """Fill in every record."""
        while self._waiting:
            self._read_until(time.monotonic_ns() + 10**9)

    async def keep_small(self) -> None:
        """Read on while there is too much; never ends."""
        while True:
            await asyncio.sleep(0.02 if self._bytes <= self._room_bytes else 0)
            if self._bytes > self._room_bytes:
                self._read_until(time.monotonic_ns() + _SLICE_NS)

    def _read_until(self, deadline_ns: int) -> None:
        while self._waiting and time.monotonic_ns() < deadline_ns:
            records, exchange, size = self._waiting[0]
            if self._reading is None:
                self._reading = _fill(records, exchange)
            for _ in self._reading:
                if time.monotonic_ns() >= deadline_ns:
                    return
            self._reading = None
            self._waiting.popleft()
            self._bytes -= size


def _fill(records: Sequence[RequestRecord], exchange: Exchange) -> Iterator[None]:
    """Put what the answer says into its records; yields between events."""
    answers = [Answer() for _ in records]
    yield from reading(exchange.reads, answers[0]) if len(answers) == 1 else reading_list(exchange.reads, answers)
    for record, answer in zip(records, answers, strict=True):
        fill_record(record, answer)


def fill_record(record: RequestRecord, answer: Answer) -> None:
    """Put what one answer says into its record."""
    record.arrival_ns, record.arrival_tokens = answer.arrival_ns, answer.arrival_tokens
    if answer.arrival_ns:
        record.first_token_ns, record.last_token_ns = answer.arrival_ns[0], answer.arrival_ns[-1]
    record.prompt_tokens, record.output_tokens = answer.prompt_tokens, answer.output_tokens
    record.counted_by, record.finish_reason = answer.counted_by, answer.finish_reason
    record.error = answer.error or record.error or answer.incomplete
