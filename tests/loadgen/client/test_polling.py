"""Readable sockets are reported at any polling rate: none is lost, reported twice, or reported after its removal."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvloop

from loadgen.client.polling import PAUSE_NS, ReadySockets


class Heard:
    """A socket pair: what is said into one end is noted when the other is called back."""

    def __init__(self, ready: ReadySockets):
        self.speaker, self.listener = socket.socketpair()
        self.listener.setblocking(False)
        self.words: list[bytes] = []
        self.ready = ready
        ready.add(self.listener.fileno(), self.listen)

    def say(self, word: bytes):
        self.speaker.send(word)

    def listen(self):
        self.words.append(self.listener.recv(65536))

    def close(self):
        self.ready.remove(self.listener.fileno())
        self.listener.close()
        self.speaker.close()


@contextmanager
def pairs(count: int) -> Iterator[tuple[ReadySockets, list[Heard]]]:
    ready = ReadySockets()
    heard = [Heard(ready) for _ in range(count)]
    try:
        yield ready, heard
    finally:
        for one in heard:
            one.close()
        ready.close()


async def until(true):
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.001)


async def test_what_comes_now_and_then_is_read_at_once():
    with pairs(1) as (_, [one]):
        for n in range(5):
            await asyncio.sleep(0.01)
            one.say(b"%d" % n)
            await until(lambda n=n: len(one.words) == n + 1)
    assert one.words == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_of_what_comes_often_nothing_is_lost(new_loop):
    async def talk():
        with pairs(50) as (_, heard):
            for n in range(2000):
                heard[n % 50].say(b"x")
                if n % 7 == 0:
                    await asyncio.sleep(0)
            await until(lambda: sum(len(word) for one in heard for word in one.words) == 2000)
            await asyncio.sleep(0.01)  # quiet again: the next is not waited for
            heard[0].say(b"last")
            await until(lambda: heard[0].words[-1] == b"last")

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(talk())


async def test_it_looks_seldom_when_much_comes():
    with pairs(1) as (_, [one]):
        end = time.monotonic_ns() + 50 * PAUSE_NS
        said = 0
        while time.monotonic_ns() < end:
            one.say(b"x")
            said += 1
            await asyncio.sleep(PAUSE_NS / 10e9)
        await until(lambda: sum(map(len, one.words)) == said)
    # Two looks in one pause: the first read, and the one that begins the pauses.
    assert len(one.words) <= 2 * 50 + 2


async def test_what_was_removed_is_not_called_back_though_it_was_ready_too():
    ready = ReadySockets()
    first, second = Heard(ready), Heard(ready)
    gone: list[Heard] = []

    def remove_the_other(own: Heard, other: Heard):
        own.listener.recv(100)
        if not gone:
            gone.append(other)
            other.close()

    for own, other in ((first, second), (second, first)):
        own.ready.remove(own.listener.fileno())
        ready.add(own.listener.fileno(), lambda own=own, other=other: remove_the_other(own, other))
    first.say(b"x")
    second.say(b"x")
    await until(lambda: gone)
    await asyncio.sleep(0.01)
    (left,) = {first, second} - set(gone)
    left.say(b"y")
    await asyncio.sleep(0.01)
    left.close()
    ready.close()


async def test_a_callback_may_close_it():
    ready = ReadySockets()
    one = Heard(ready)
    ready.remove(one.listener.fileno())
    closed = asyncio.Event()

    def close():
        one.close()
        ready.close()
        closed.set()

    ready.add(one.listener.fileno(), close)
    one.say(b"x")
    await asyncio.wait_for(closed.wait(), 10)
    await asyncio.sleep(0.01)


async def test_closing_gives_the_descriptors_back():
    before = open_files()
    with pairs(3):
        assert open_files() == before + 8
    assert open_files() == before


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
