"""Clients that are slow, greedy or gone, at the level of bytes."""

from __future__ import annotations

import json
import socket
import time
from contextlib import contextmanager, suppress

import httpx
import psutil
import pytest

from server.transport.connection import MAX_HEADER_BYTES, MAX_PIPELINED
from tests.server.conftest import running_server, wait_until

PATIENCE_S = 0.4


@pytest.fixture(scope="module")
def impatient(checkpoint):
    limits = {"receive_timeout_s": PATIENCE_S, "send_timeout_s": PATIENCE_S, "max_body_bytes": 10_000}
    with running_server(checkpoint, engine_options={"prefill_ms": "0", "token_ms": "0"}, **limits) as server:
        yield server


@contextmanager
def connected(server, *, receive_buffer=None):
    with socket.socket() as client:
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(20)
        client.connect(("127.0.0.1", int(server.url.rsplit(":", 1)[1])))
        yield client


def everything(client):
    """All bytes until the server closes the connection."""
    received = b""
    while some := client.recv(65536):
        received += some
    return received


def refusal(answer):
    """Status and message of an answer that is one error and nothing else."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return int(head.split()[1]), error["message"]


def post(body, *, path="/v1/completions", length=None):
    length = len(body) if length is None else length
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n".encode() + body


@pytest.mark.parametrize("begun", [b"", b"GET /heal", b"GET /health HTTP/1.1\r\nhost: x\r\n", b"\r\n\r\n"])
def test_headers_that_do_not_come_are_waited_for_until_the_deadline(impatient, begun):
    with connected(impatient) as client:
        client.sendall(begun)
        status, message = refusal(everything(client))
    assert status == 408
    assert "0.4 s" in message


def test_a_trickle_of_headers_does_not_move_the_deadline(impatient):
    with connected(impatient) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        wait_until(lambda: impatient.connections == 1)

        def gone_after_another_header():
            with suppress(OSError):
                client.sendall(b"x: y\r\n")
            time.sleep(0.05)
            return impatient.connections == 0

        wait_until(gone_after_another_header)


def test_a_body_that_trickles_is_refused_and_never_holds_a_place(impatient):
    with connected(impatient) as client:
        client.sendall(post(b'{"prompt":', length=500))
        wait_until(lambda: impatient.connections == 1)
        with impatient.model.in_flight.admitted(4096):
            pass  # all places are free while it is waited for
        assert impatient.running == 0
        status, message = refusal(everything(client))
    assert status == 408
    assert "body" in message


def test_a_body_that_is_not_read_has_an_end_too(impatient):
    """A 413 leaves the client time to send the rest, so that it comes to read its answer; not for ever."""
    with connected(impatient) as client:
        client.sendall(post(b"x" * 20_000, length=10**9))
        answer = everything(client)
    assert answer.startswith(b"HTTP/1.1 413")
    wait_until(lambda: impatient.connections == 0)


def test_after_a_refused_body_the_connection_still_serves(impatient):
    with connected(impatient) as client:
        client.sendall(post(b"x" * 20_000))
        assert client.recv(65536).startswith(b"HTTP/1.1 413")
        client.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")


def test_an_idle_connection_outlives_the_patience_for_requests(impatient):
    with httpx.Client(base_url=impatient.url) as client:
        assert client.get("/health").status_code == 200
        assert impatient.connections == 1
        time.sleep(2 * PATIENCE_S)
        assert impatient.connections == 1
        assert client.get("/health").status_code == 200


def test_a_long_answer_is_not_cut_by_the_patience_for_requests(checkpoint):
    options = {"prefill_ms": "0", "token_ms": "20"}
    with running_server(
        checkpoint, receive_timeout_s=PATIENCE_S, send_timeout_s=PATIENCE_S, engine_options=options
    ) as server:
        answer = httpx.post(f"{server.url}/v1/completions", json={"prompt": "x", "max_tokens": 60}, timeout=20)
        assert answer.json()["usage"]["completion_tokens"] == 60


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health HTTP/1.1\r\nx: " + b"a" * MAX_HEADER_BYTES + b"\r\n\r\n",
        b"GET /" + b"a" * MAX_HEADER_BYTES + b" HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + b"x: y\r\n" * (MAX_HEADER_BYTES // 6),
        b"GET /health HTTP/1.1\r\nx: " + b"a" * (MAX_HEADER_BYTES + 1),  # and no end
    ],
    ids=["one header", "path", "many headers", "endless"],
)
def test_too_many_bytes_of_headers_are_refused(impatient, sent):
    with connected(impatient) as client:
        client.sendall(sent)
        status, message = refusal(everything(client))
    assert status == 400
    assert str(MAX_HEADER_BYTES) in message


def test_headers_within_the_limit_are_taken(impatient):
    long = "a" * (MAX_HEADER_BYTES - 1000)
    assert httpx.get(f"{impatient.url}/health", headers={"x-long": long}).status_code == 200


def test_what_is_no_http_gets_an_error_in_openais_shape(impatient):
    with connected(impatient) as client:
        client.sendall(b"\x16\x03\x01 this is TLS\r\n\r\n")
        assert refusal(everything(client)) == (400, "this is not an HTTP/1.1 request")


def test_a_fault_within_an_answer_ends_it_without_a_second_status(checkpoint):
    with running_server(checkpoint, engine_options={"token_ms": "20"}) as server, connected(server) as client:
        client.sendall(post(b'{"prompt":"x","max_tokens":1000,"stream":true}'))
        client.recv(100)
        client.sendall(b"\0\0\0 no request\r\n\r\n")
        assert everything(client).count(b"HTTP/1.1") == 0
        wait_until(lambda: server.running == 0)


def test_pipelined_requests_are_answered_in_turn_up_to_a_number(impatient):
    one = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
    with connected(impatient) as client:
        client.sendall(one * 99 + one.replace(b"host: x", b"connection: close"))
        assert everything(client).count(b"HTTP/1.1 200") == 100
    with connected(impatient) as client:
        client.sendall(one * (MAX_PIPELINED + 50))
        assert refusal(everything(client))[0] == 400


def test_who_pipelines_and_leaves_does_not_keep_the_first_request_running(checkpoint):
    with running_server(checkpoint, engine_options={"token_ms": "20"}) as server:
        with connected(server) as client:
            body = b'{"prompt":"x","max_tokens":4000,"stream":true}'
            client.sendall(post(body) + post(body))
            wait_until(lambda: server.running == 1)
            client.recv(100)
        wait_until(lambda: server.running == 0, seconds=10)  # by itself it would take 80 s


@pytest.mark.slow
def test_a_reader_that_does_not_read_is_dropped_and_costs_little_memory_until_then(checkpoint):
    """About 250 MB of answer are asked for; what waits for the reader is bounded by buffers, and ends with the patience."""
    options = {"prefill_ms": "0", "token_ms": "0", "max_model_len": "1000000"}
    with running_server(checkpoint, send_timeout_s=2, engine_options=options) as server:
        with connected(server, receive_buffer=4096) as client:
            before = psutil.Process().memory_info().rss
            client.sendall(post(b'{"prompt":"x","max_tokens":900000,"logprobs":5,"stream":true}'))
            wait_until(lambda: server.running == 1)
            time.sleep(1)
            assert server.running == 1, "dropped too early"
            assert psutil.Process().memory_info().rss - before < 40e6
            wait_until(lambda: server.running == 0, seconds=15)
            wait_until(lambda: server.connections == 0)
        assert httpx.get(f"{server.url}/health").status_code == 200


def test_a_reader_that_pauses_less_than_the_patience_gets_everything(checkpoint):
    options = {"prefill_ms": "0", "token_ms": "0"}
    with running_server(checkpoint, send_timeout_s=20, engine_options=options) as server:
        with connected(server, receive_buffer=4096) as client:
            client.sendall(
                post(b'{"prompt":"x","max_tokens":4000,"logprobs":5,"stream":true}').replace(
                    b"host: x", b"connection: close"
                )
            )
            time.sleep(0.5)
            answer = everything(client)
        assert answer.endswith(b"0\r\n\r\n")
        assert answer.count(b'"text"') == 4000
