from __future__ import annotations

import json
import socket

import httpx
import pytest

from tests.server.conftest import running_server, serve_process, url_once_ready, wait_until


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.fixture
def logging_server(checkpoint):
    with running_server(checkpoint, access_log=True, api_key="s3cret") as server:
        yield server


@pytest.fixture
def client(logging_server):
    with httpx.Client(base_url=logging_server.url, headers={"authorization": "Bearer s3cret"}) as client:
        yield client


def test_every_answer_carries_an_id_and_the_clients_own_if_it_has_one(client):
    ids = {client.get("/health").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    for path in ("/health", "/nowhere", "/v1/completions"):
        assert client.get(path, headers={"x-request-id": "mine-7"}).headers["x-request-id"] == "mine-7"
    stream = {"prompt": "x", "stream": True}
    assert client.post("/v1/completions", json=stream, headers={"x-request-id": "s"}).headers["x-request-id"] == "s"


@pytest.mark.parametrize("bad", ["", "a" * 129, "with space", "tab\there"])
def test_an_id_that_could_spoil_a_log_is_replaced(client, bad):
    given = client.get("/health", headers={"x-request-id": bad}).headers["x-request-id"]
    assert len(given) == 32


def test_a_line_reports_what_was_done_and_what_it_came_to(client, capsys):
    client.post("/v1/completions", json={"prompt": [5, 6], "max_tokens": 3}, headers={"x-request-id": "a"})
    client.post("/v1/completions", json={"prompt": [5], "max_tokens": 2, "n": 2, "stream": True})
    client.get("/v1/models?token=s3cret")
    client.post("/v1/completions", content=b"{")
    whole, streamed, models, refused = lines(capsys)
    assert whole.keys() == {
        "time", "request_id", "method", "path", "status", "complete", "ms", "prompt_tokens", "completion_tokens"
    }  # fmt: skip
    assert (whole["request_id"], whole["method"], whole["path"], whole["status"]) == (
        "a",
        "POST",
        "/v1/completions",
        200,
    )
    assert (whole["prompt_tokens"], whole["completion_tokens"], whole["complete"]) == (2, 3, True)
    assert whole["ms"] > 2 + 2 * 1  # the engine's own times
    assert (streamed["prompt_tokens"], streamed["completion_tokens"]) == (1, 4)
    assert (models["path"], models["prompt_tokens"]) == ("/v1/models", None)
    assert refused["status"] == 400


def test_no_line_holds_a_prompt_an_answer_or_a_key(client, capsys):
    secret = "the quick brown fox"
    text = client.post("/v1/completions", json={"prompt": secret, "echo": True}).json()["choices"][0]["text"]
    client.post("/v1/completions", json={"prompt": secret, "nonsense": secret})
    client.get(f"/v1/models?prompt={secret}", headers={"authorization": "Bearer wrong-key"})
    written = capsys.readouterr().err
    assert len(written.splitlines()) == 3
    for hidden in (secret, text, "s3cret", "wrong-key", "Bearer"):
        assert hidden not in written


def test_a_failure_of_ours_has_its_line_too(logging_server, client, capsys):
    logging_server.model.engine.generate = None
    answer = client.post("/v1/completions", json={"prompt": "x"}, headers={"x-request-id": "bad-luck"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "bad-luck")
    assert [(line["request_id"], line["status"]) for line in lines(capsys)] == [("bad-luck", 500)]


def test_a_client_that_leaves_is_logged_as_incomplete(checkpoint, capsys):
    with running_server(checkpoint, access_log=True, engine_options={"token_ms": "20"}) as server:
        body = b'{"prompt":"x","max_tokens":4000,"stream":true}'
        with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as leaving:
            leaving.sendall(
                b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            )
            leaving.recv(100)
        wait_until(lambda: server.running == 0 and server.connections == 0)
    (line,) = lines(capsys)
    assert (line["status"], line["complete"]) == (200, False)
    assert 1 <= line["completion_tokens"] < 4000


@pytest.mark.parametrize("wanted", [True, False])
def test_lines_are_written_only_when_asked_for(checkpoint, wanted):
    process = serve_process(checkpoint=checkpoint, access_log=wanted)
    httpx.get(f"{url_once_ready(process)}/v1/models")
    process.terminate()
    _, log = process.communicate(timeout=20)
    assert [json.loads(line)["path"] for line in log.splitlines() if line[0] == "{"] == ["/v1/models"] * wanted
