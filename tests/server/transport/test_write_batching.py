"""Writes of one round of the event loop reach the client in one piece, in order, and closing loses none."""

from __future__ import annotations

import asyncio

from server.transport.write_batching import BatchedWrites, WriteBatch


class Recorded(asyncio.Transport):
    """What was written, write by write."""

    def __init__(self):
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data):
        assert not self.closed, "uvloop raises for this"
        self.written.append(data)

    def close(self):
        self.closed = True

    abort = close

    def is_closing(self):
        return self.closed


async def test_what_is_written_in_one_round_is_one_write():
    inner = Recorded()
    outer = BatchedWrites(inner, WriteBatch())
    outer.write(b"a")
    outer.write(b"b")
    assert inner.written == []
    await asyncio.sleep(0)
    outer.write(bytearray(b"c"))
    await asyncio.sleep(0)
    assert inner.written == [b"ab", b"c"]


async def test_closing_sends_what_was_written_before_and_nothing_after():
    inner = Recorded()
    outer = BatchedWrites(inner, WriteBatch())
    outer.write(b"last")
    outer.close()
    outer.write(b"late")
    await asyncio.sleep(0)
    assert inner.written == [b"last"]


async def test_aborting_sends_nothing():
    inner = Recorded()
    outer = BatchedWrites(inner, WriteBatch())
    outer.write(b"lost")
    outer.abort()
    await asyncio.sleep(0)
    assert inner.written == []


async def test_a_client_that_left_meanwhile_is_not_written_to():
    inner = Recorded()
    outer = BatchedWrites(inner, WriteBatch())
    outer.write(b"x")
    inner.closed = True
    await asyncio.sleep(0)
    assert inner.written == []


async def test_all_that_were_written_to_in_a_round_send_at_its_end_in_turn():
    batch, order = WriteBatch(), []

    class Noting(Recorded):
        def write(self, data):
            order.append(data)

    first, second = (BatchedWrites(Noting(), batch) for _ in range(2))
    first.write(b"1")
    second.write(b"2")
    first.write(b"3")
    assert order == []
    await asyncio.sleep(0)
    assert order == [b"13", b"2"]
    second.write(b"4")
    await asyncio.sleep(0)
    assert order == [b"13", b"2", b"4"]
