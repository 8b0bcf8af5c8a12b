"""Answers that have been read to their end: what `loadgen.results` reads part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from loadgen.answers.event_reader import EventReader
from loadgen.answers.sse import Answer


def events(reads: Sequence[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """(time, data) of each event: the time of the read that completed it."""
    reader = EventReader()
    for at_ns, chunk in reads:
        for data in reader.feed(chunk):
            yield at_ns, data


def read_answer(reads: Sequence[tuple[int, bytes]], count_tokens: Callable[[str], int] | None = None) -> Answer:
    """Read a whole answer."""
    answer = Answer(keep_text=count_tokens is not None)
    for at_ns, chunk in reads:
        answer.feed(at_ns, chunk)
    answer.settle(count_tokens)
    return answer
