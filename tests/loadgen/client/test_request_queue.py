from __future__ import annotations

import asyncio
import contextlib

from loadgen.client.request_queue import RequestsAhead


def counting(made):
    def make(index):
        made.append(index)
        return b"%d" % index

    return make


def test_requests_are_made_before_they_are_taken_and_come_in_order():
    made = []
    requests = RequestsAhead(counting(made), count=3)
    requests.fill()
    assert made == [0, 1, 2]
    assert [requests.take() for _ in range(3)] == [b"0", b"1", b"2"]
    assert made == [0, 1, 2]


def test_no_more_wait_than_there_is_room_for_and_one_that_is_missing_is_made_when_taken():
    made = []
    requests = RequestsAhead(counting(made), count=None, ahead=2)
    requests.fill()
    assert made == [0, 1]
    assert [requests.take() for _ in range(4)] == [b"0", b"1", b"2", b"3"]


async def test_what_is_taken_is_made_up_for_meanwhile():
    made = []
    requests = RequestsAhead(counting(made), count=4, ahead=2)
    requests.fill()
    requests.take()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(requests.keep_full(), 0.2)
    assert made == [0, 1, 2]
