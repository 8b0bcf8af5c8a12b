from __future__ import annotations

import time

import pytest

from loadgen.answers.sse import Answer
from loadgen.client.kernel_stamps import ArrivalClock
from loadgen.endpoint import Endpoint
from loadgen.locust.blocking_wire import BlockingClient
from tests.loadgen.scripted import CLOSE, HEAD, RESET, ScriptedServer, chunked, sized, stream, token


def lags_of(exchange):
    return list(exchange.lag_ns)


def exchanged(script, requests=1, timeout_s=5.0):
    with ScriptedServer(script) as server:
        endpoint = Endpoint(server.url, "m", timeout_s=timeout_s)
        with BlockingClient(endpoint, ArrivalClock()) as client:
            return [client.send("/v1/completions", b"{}") for _ in range(requests)], server


def answer_of(exchange):
    answer = Answer()
    for at_ns, data in exchange.reads:
        answer.feed(at_ns, data)
    answer.settle()
    return answer


def test_an_answer_is_stamped_as_it_arrives_by_the_kernel_where_it_can():
    before = time.monotonic_ns()
    (exchange,), _ = exchanged(lambda *_: stream(3, first_s=0.05, token_s=0.05))
    answer = answer_of(exchange)
    assert (exchange.error, exchange.status, answer.output_tokens) == (None, 200, 3)
    arrivals = list(answer.arrival_ns)
    assert before < exchange.sent_ns < arrivals[0] < arrivals[1] < arrivals[2] <= exchange.end_ns
    assert arrivals[0] - exchange.sent_ns > 49e6
    assert max(lags_of(exchange)) >= 0


def test_a_connection_is_kept_and_one_that_the_server_has_closed_is_not_a_failure():
    exchanges, server = exchanged(lambda *_: stream(1), requests=3)
    assert [e.error for e in exchanges] == [None] * 3
    assert server.connections == 1
    exchanges, server = exchanged(lambda n, _: [*stream(1), CLOSE] if n == 0 else stream(1), requests=2)
    assert [e.error for e in exchanges] == [None, None]
    assert server.connections == 2


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([HEAD + chunked(token(usage=1)), RESET], "the connection was lost"),
        ([HEAD + chunked(token(usage=1)), CLOSE], "closed by the server"),
        ([b"SSH-2.0\r\n\r\n"], "is not HTTP"),
        ([HEAD, 9.0], "no end of the answer within 0.2 s"),
    ],
)
def test_what_breaks_is_reported_and_never_raised(steps, reason):
    (exchange,), _ = exchanged(lambda *_: steps, timeout_s=0.2)
    assert reason in exchange.error
    assert exchange.end_ns is not None


def test_a_server_that_is_not_there_is_an_error_of_the_request():
    with BlockingClient(Endpoint("http://127.0.0.1:9", "m"), ArrivalClock()) as client:
        exchange = client.send("/v1/completions", b"{}")
    assert "no connection" in exchange.error
    assert exchange.sent_ns is None


def test_an_answer_that_is_no_stream_is_kept_whole():
    (exchange,), _ = exchanged(lambda *_: [sized(b'{"error": {"message": "no"}}', "503 Busy")])
    assert (exchange.status, bytes(exchange.body)) == (503, b'{"error": {"message": "no"}}')
