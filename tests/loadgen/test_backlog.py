from __future__ import annotations

import asyncio
import contextlib

from loadgen.backlog import Backlog
from loadgen.records import RequestRecord
from loadgen.wire import Exchange
from tests.loadgen.scripted import event, token

DONE = b"data: [DONE]\n\n"


def add(backlog, *parts, error=None):
    record = RequestRecord("0-0", 0, 0, 0, sent_ns=1, end_ns=99, status=200, error=error)
    reads = [(10 * n, part) for n, part in enumerate(parts, 1)]
    backlog.add([record], Exchange(sent_ns=1, end_ns=99, status=200, reads=reads, error=error))
    return record


def test_nothing_is_read_before_it_is_asked_for_and_then_all_of_it():
    backlog = Backlog()
    records = [add(backlog, token(usage=1), token(usage=2, finish="length"), DONE) for _ in range(3)]
    assert records[0].first_token_ns is None
    assert backlog.waiting_bytes > 0
    backlog.read_all()
    assert backlog.waiting_bytes == 0
    assert [(r.first_token_ns, r.last_token_ns, r.output_tokens, r.error) for r in records] == [(10, 20, 2, None)] * 3


def test_the_servers_own_words_go_before_those_of_a_lost_connection():
    backlog = Backlog()
    lost = "the connection was lost: closed by the server"
    told = add(backlog, token(usage=1), event(error={"message": "the engine has died"}), error=lost)
    silent = add(backlog, token(usage=1), error=lost)
    backlog.read_all()
    assert (told.error, silent.error) == ("the engine has died", lost)
    assert silent.arrival_tokens == [1]


async def test_while_there_is_room_nothing_is_read_and_beyond_it_only_as_much_as_must_be():
    backlog = Backlog(room_bytes=2000)
    few = [add(backlog, token(usage=1), DONE)]
    await briefly(backlog.keep_small())
    assert few[0].first_token_ns is None
    many = [add(backlog, *(token(usage=n) for n in range(1, 200)), DONE) for _ in range(20)]
    await briefly(backlog.keep_small(), seconds=5, until=lambda: backlog.waiting_bytes <= 2000)
    assert backlog.waiting_bytes <= 2000
    assert many[0].output_tokens == 199
    backlog.read_all()
    assert {r.output_tokens for r in many} == {199}


async def briefly(work, seconds=0.1, until=lambda: False):
    task = asyncio.create_task(work)
    for _ in range(round(seconds / 0.01)):
        await asyncio.sleep(0.01)
        if until():
            break
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
