from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import threading
import time
from urllib.parse import quote

import pytest

from loadgen.client.wire import WireClient
from loadgen.endpoint import Endpoint
from tests.loadgen.answers.whole import read_answer
from tests.loadgen.scripted import CLOSE, END, HEAD, RESET, ScriptedServer, chunked, sized, stream, token

BODY = json.dumps({"prompt": "é"}).encode()


def lags_of(exchange):
    return list(exchange.lag_ns)


def client_of(server, **settings):
    return WireClient(Endpoint(server.url, "m", **settings))


async def ask(client, times=1):
    return [await client.send(client.request("/v1/completions", BODY)) for _ in range(times)]


async def ask_once(script, **settings):
    with ScriptedServer(script) as server:
        async with client_of(server, **settings) as client:
            return (await ask(client))[0]


async def test_a_stream_is_stamped_read_by_read_in_order():
    exchange = await ask_once(lambda *_: stream(5, first_s=0.05, token_s=0.02))
    answer = read_answer(exchange.reads)
    assert exchange.error is None
    assert answer.arrival_tokens == [1, 2, 3, 4, 5]
    times = [exchange.sent_ns, exchange.headers_ns, *answer.arrival_ns[1:], exchange.end_ns]
    assert times == sorted(times)
    # The server waits before each write, so nothing can be stamped earlier than this.
    assert answer.arrival_ns[0] - exchange.sent_ns >= 49e6
    assert answer.arrival_ns[-1] - exchange.sent_ns >= 125e6


async def test_what_is_sent_is_one_whole_post_with_the_key():
    with ScriptedServer(lambda *_: stream(1)) as server:
        async with client_of(server, api_key="secret") as client:
            await ask(client)
        head = server.asked[0].head
        assert server.asked[0].body == {"prompt": "é"}
    assert head.startswith("POST /v1/completions HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}\r\n" in head
    assert "Authorization: Bearer secret\r\n" in head


async def test_one_connection_serves_one_request_after_another():
    with ScriptedServer(lambda *_: stream(2)) as server:
        async with client_of(server) as client:
            await ask(client, 4)
        assert [asked.connection for asked in server.asked] == [0, 0, 0, 0]


async def test_requests_at_the_same_time_have_a_connection_each():
    with ScriptedServer(lambda *_: stream(2, first_s=0.1)) as server:
        async with client_of(server) as client:
            await client.open(5)
            await asyncio.gather(*(ask(client) for _ in range(5)))
        assert {asked.connection for asked in server.asked} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("size", [1, 2, 7])
async def test_any_split_of_the_bytes_gives_the_same_answer(size):
    whole = HEAD + b"".join(chunked(token(usage=n, finish="length" if n == 3 else None)) for n in (1, 2, 3))
    whole += chunked(b"data: [DONE]\r\n\r\n") + END
    pieces = [step for at in range(0, len(whole), size) for step in (whole[at : at + size], 0.0)]
    exchange = await ask_once(lambda *_: pieces)
    assert exchange.error is None
    assert read_answer(exchange.reads).arrival_tokens == [1, 2, 3]


async def test_a_body_of_stated_length_is_read_and_the_connection_kept():
    with ScriptedServer(lambda *_: [sized(token(usage=1) + b"data: [DONE]\n\n")]) as server:
        async with client_of(server) as client:
            exchanges = await ask(client, 2)
        assert server.connections == 1
    assert all(read_answer(e.reads).complete and e.error is None for e in exchanges)


async def test_a_body_without_length_ends_with_its_connection():
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    exchange = await ask_once(lambda *_: [head + token(usage=1) + b"data: [DONE]\n\n", CLOSE])
    assert exchange.error is None
    assert read_answer(exchange.reads).complete


async def test_interim_answers_are_passed_over():
    exchange = await ask_once(lambda *_: [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", 0.01, sized(b"late")])
    assert (exchange.status, exchange.body) == (200, b"late")


async def test_a_server_that_will_close_gets_a_new_connection_next_time():
    with ScriptedServer(lambda *_: [sized(b"x", headers="Connection: close\r\n"), CLOSE]) as server:
        async with client_of(server) as client:
            exchanges = await ask(client, 2)
        assert server.connections == 2
    assert [e.error for e in exchanges] == [None, None]


async def test_an_idle_connection_closed_under_our_hands_costs_no_request():
    def script(n, _):
        return [sized(b"x")] if n != 1 else [CLOSE]  # the second request finds the door closing

    with ScriptedServer(script) as server:
        async with client_of(server) as client:
            exchanges = await ask(client, 2)
        assert [asked.connection for asked in server.asked] == [0, 0, 1]
    assert [e.error for e in exchanges] == [None, None]


@pytest.mark.parametrize("ending", [CLOSE, RESET])
async def test_an_answer_cut_short_is_an_error_and_not_asked_again(ending):
    def script(n, _):
        return stream(1) if n == 0 else [HEAD + chunked(token(usage=1)), 0.05, ending]

    with ScriptedServer(script) as server:
        async with client_of(server) as client:
            exchange = (await ask(client, 2))[1]
        assert len(server.asked) == 2
    assert exchange.error.startswith("the connection was lost")
    assert read_answer(exchange.reads).arrival_tokens == [1]


async def test_half_a_status_line_is_an_answer_cut_short_too():
    def script(n, _):
        return [sized(b"x")] if n == 0 else [b"HTTP/1.1 2", 0.05, CLOSE]

    with ScriptedServer(script) as server:
        async with client_of(server) as client:
            assert (await ask(client, 2))[1].error.startswith("the connection was lost")
        assert len(server.asked) == 2


async def test_a_timeout_ends_the_request_for_good_and_frees_the_server():
    def script(n, _):
        return stream(1) if n < 3 else [5.0]

    with ScriptedServer(script) as server:
        async with client_of(server, timeout_s=0.2) as client:
            await client.open(3)  # idle ones it must not be sent again on
            await ask(client, 3)
            exchange = (await ask(client))[0]
            assert "within 0.2 s" in exchange.error
        assert len(server.asked) == 4


async def test_a_pause_within_an_answer_ends_it_where_a_limit_was_asked_for_and_a_slow_first_token_does_not():
    def script(n, _):
        first = [0.6, HEAD + chunked(token(usage=1))]
        return [*first, 30.0] if n else [*first, 0.1, chunked(token(usage=2, finish="length")) + END]

    with ScriptedServer(script) as server:
        async with client_of(server, timeout_s=20.0, idle_timeout_s=0.4) as client:
            assert (await ask(client))[0].error is None
            exchange = (await ask(client))[0]
            assert exchange.error == "nothing read for 0.4 s within the answer"
            assert exchange.body, "what came before the pause is kept"
        async with client_of(server, timeout_s=0.9, idle_timeout_s=30.0) as client:
            assert (await ask(client))[0].error == "no end of the answer within 0.9 s"


async def test_an_error_status_keeps_its_body_and_the_connection():
    with ScriptedServer(lambda *_: [sized(b'{"error": {"message": "no"}}', "400 Bad Request")]) as server:
        async with client_of(server) as client:
            exchanges = await ask(client, 2)
        assert server.connections == 1
    assert [(e.status, e.error) for e in exchanges] == [(400, None), (400, None)]
    assert b"no" in exchanges[0].body


async def test_what_is_not_http_is_an_error():
    assert "not HTTP" in (await ask_once(lambda *_: [b"SSH-2.0-hello\r\n"])).error


async def test_bytes_nobody_asked_for_end_the_connection():
    with ScriptedServer(lambda *_: [sized(b"x") + sized(b"y")]) as server:
        async with client_of(server) as client:
            exchanges = await ask(client, 2)
        assert server.connections == 2
    assert [e.body for e in exchanges] == [b"x", b"x"]


async def test_nobody_there_is_reported_in_the_exchange():
    with ScriptedServer(lambda *_: []) as server:
        url = server.url
    async with WireClient(Endpoint(url, "m")) as client:
        await client.open(3)
        exchange = (await ask(client))[0]
    assert exchange.error.startswith("no connection")
    assert (exchange.sent_ns, exchange.status) == (None, None)
    assert exchange.end_ns <= time.monotonic_ns()


async def test_leaving_closes_every_connection_even_in_mid_stream():
    def script(*_):
        yield HEAD
        for n in range(1, 100):
            yield chunked(token(usage=n))
            started.set()
            yield 0.05

    started = threading.Event()
    with ScriptedServer(script) as server:
        async with client_of(server) as client:
            asking = asyncio.create_task(ask(client))
            await asyncio.to_thread(started.wait, 10)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        for _ in range(200):
            if server.open == 0:
                break
            await asyncio.sleep(0.02)
        assert server.open == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, capture_output=True)
    return key, cert


async def test_tls_is_spoken_and_certificates_are_checked(certificate, monkeypatch):
    key, cert = certificate
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    with ScriptedServer(lambda *_: stream(3), tls=tls) as server:
        async with client_of(server) as client:
            stranger = (await ask(client))[0]
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        async with client_of(server) as client:
            known = (await ask(client))[0]
        # The certificate is for the address, not for this name.
        async with WireClient(Endpoint(server.url.replace("127.0.0.1", "localhost"), "m")) as client:
            misnamed = (await ask(client))[0]
    assert "certificate verify failed" in misnamed.error
    assert "certificate verify failed" in stranger.error
    assert known.error is None
    assert read_answer(known.reads).arrival_tokens == [1, 2, 3]


async def test_proxies_from_the_environment_are_not_used(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert (await ask_once(lambda *_: stream(1))).error is None


async def test_reads_have_the_kernels_stamp_which_no_busy_client_can_shift():
    with ScriptedServer(lambda *_: stream(4, first_s=0.02, token_s=0.02)) as server:
        async with client_of(server) as client:
            asking = asyncio.create_task(ask(client))
            while not server.asked:  # noqa: ASYNC110 - in another thread, and a busy machine takes a while to connect
                await asyncio.sleep(0.001)
            time.sleep(0.3)  # noqa: ASYNC251 - all of the answer comes meanwhile
            exchange = (await asking)[0]
            now = time.monotonic_ns()
    assert min(lags_of(exchange)) >= 0
    assert max(lags_of(exchange)) > 100e6
    assert now - exchange.reads[-1][0] > 100e6
    assert exchange.end_ns == exchange.reads[-1][0]


async def test_encrypted_bytes_have_it_too(certificate, monkeypatch):
    key, cert = certificate
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    with ScriptedServer(lambda *_: stream(40), tls=tls) as server:
        async with client_of(server) as client:
            exchanges = await ask(client, 3)
        assert server.connections == 1
    for exchange in exchanges:
        assert read_answer(exchange.reads).arrival_tokens == list(range(1, 41))
        assert min(lags_of(exchange)) >= 0


async def test_a_prompt_larger_than_the_sockets_buffers_arrives_whole(certificate, monkeypatch):
    key, cert = certificate
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    body = json.dumps({"prompt": "x" * 20_000_000}).encode()
    for context in (None, tls):
        with ScriptedServer(lambda *_: stream(1), tls=context) as server:
            async with client_of(server) as client:
                exchange = await client.send(client.request("/v1/completions", body))
            assert exchange.error is None
            assert len(server.asked[0].body["prompt"]) == 20_000_000


@pytest.mark.parametrize("form", ["unix:{}", "unix://{}", "http+unix://{}"])
async def test_a_unix_socket_is_spoken_to_and_timed_by_reading(tmp_path, form):
    path = tmp_path / "server.sock"

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        for step in stream(3):
            if isinstance(step, bytes):
                writer.write(step)
        writer.close()

    server = await asyncio.start_unix_server(answer, path)
    async with (
        server,
        WireClient(Endpoint(form.format(quote(str(path), safe="" if "http" in form else "/")), "m")) as client,
    ):
        exchange = (await ask(client))[0]
    assert exchange.error is None
    assert read_answer(exchange.reads).arrival_tokens == [1, 2, 3]
    assert set(lags_of(exchange)) == {-1}


async def test_what_has_come_can_be_taken_before_the_answer_is_whole():
    taken = []
    with ScriptedServer(lambda *_: stream(4, token_s=0.1)) as server:
        async with client_of(server) as client:
            sending = asyncio.create_task(client.send(client.request("/v1/completions", BODY), taken.append))
            while not (taken and taken[0].body):  # noqa: ASYNC110 - bytes ring no bell
                await asyncio.sleep(0.01)
            _, _, ends, body = taken[0].take()
            exchange = await sending
    assert len(ends) >= 8
    assert read_answer([(1, body), *exchange.reads]).arrival_tokens == [1, 2, 3, 4]
