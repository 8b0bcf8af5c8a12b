from __future__ import annotations

import json
import socket
import threading
import time

import httpx
import pytest
from starlette.testclient import TestClient

from energy.records import EnergyCounters, EnergyTrace
from server.api.app import create_app
from server.api.endpoints import Stage
from server.settings import ServeSettings
from tests.server.conftest import running_server, wait_until

SHAPE = {"message", "type", "param", "code"}


def error_of(response):
    error = response.json()["error"]
    assert set(error) == SHAPE
    return error


def test_models_lists_the_name_the_context_and_the_engine(client, tokenizer):
    (card,) = client.get("/v1/models").json()["data"]
    assert (card["id"], card["object"], card["max_model_len"]) == ("tiny", "model", 4096)
    assert card["engine"]["name"] == "synthetic"
    assert card["engine"]["vocabulary"] == tokenizer.vocabulary


def test_health_is_200_while_the_engine_lives(client):
    assert client.get("/health").status_code == 200


def test_everything_is_503_until_there_is_a_model(checkpoint):
    loading = TestClient(create_app(Stage(), ServeSettings(checkpoint=checkpoint)))
    for path in ("/health", "/v1/models", "/metrics", "/energy"):
        response = loading.get(path)
        assert response.status_code == 503
        assert error_of(response)["code"] == "loading"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nowhere", None, 404),
        ("GET", "/v1/completions", None, 405),
        ("POST", "/v1/completions", b"{", 400),
        ("POST", "/v1/completions", b'{"prompt":"x","logit_bias":{}}', 400),
        ("POST", "/v1/completions", b'{"prompt":"x","model":"other"}', 404),
        ("POST", "/v1/chat/completions", b'{"messages":3}', 400),
        ("POST", "/tokenize", b"{}", 400),
        ("POST", "/detokenize", b'{"tokens":[-1]}', 400),
        ("GET", "/energy/trace?since_ns=soon", None, 400),
    ],
)
def test_every_error_has_openais_shape(client, method, path, body, status):
    response = client.request(method, path, content=body)
    assert response.status_code == status
    assert error_of(response)["type"] in {"invalid_request_error", "not_found_error"}


def test_a_failure_of_ours_is_500_and_says_nothing_of_our_insides(checkpoint):
    with running_server(checkpoint) as server:
        server.model.engine.generate = None
        response = httpx.post(f"{server.url}/v1/completions", json={"prompt": "x"})
    assert response.status_code == 500
    assert "NoneType" not in error_of(response)["message"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_long_is_refused_however_it_is_sent(checkpoint, chunked):
    body = json.dumps({"prompt": "x" * 5000}).encode()
    with running_server(checkpoint, max_body_bytes=2048) as server:
        sent = iter([body[:100], body[100:]]) if chunked else body
        response = httpx.post(f"{server.url}/v1/completions", content=sent)
        assert response.status_code == 413
        assert "2048 bytes" in error_of(response)["message"]
        assert httpx.post(f"{server.url}/v1/completions", json={"prompt": "x"}).status_code == 200


def test_with_a_key_only_health_is_open(checkpoint):
    with running_server(checkpoint, api_key="s3cret") as server, httpx.Client(base_url=server.url) as client:
        assert client.get("/health").status_code == 200
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "s3cret"},
            {"authorization": "Bearer s3cret2"},
        ):
            for path in ("/v1/models", "/metrics", "/energy", "/nowhere"):
                assert client.get(path, headers=headers).status_code == 401
        assert error_of(client.get("/v1/models"))["code"] == "invalid_api_key"
        assert client.get("/v1/models", headers={"authorization": "Bearer s3cret"}).status_code == 200


def test_tokens_come_back_as_text(client, tokenizer):
    tokens = client.post("/tokenize", json={"prompt": "naïve fox"}).json()
    assert tokens == {"count": len(tokens["tokens"]), "max_model_len": 4096, "tokens": tokens["tokens"]}
    assert tokens["tokens"][0] == 0
    assert client.post("/detokenize", json={"tokens": tokens["tokens"][1:]}).json() == {"prompt": "naïve fox"}


def test_a_long_text_is_read_whole(client):
    text = "the quick brown fox " * 1200
    counted = client.post("/tokenize", json={"prompt": text, "add_special_tokens": False}).json()
    ids = counted["tokens"]
    parts = [client.post("/detokenize", json={"tokens": some}).json()["prompt"] for some in (ids[:4096], ids[4096:])]
    assert "".join(parts) == text
    refused = client.post("/v1/completions", json={"prompt": text})
    assert refused.status_code == 400
    assert f"{counted['count'] + 1} tokens do not fit" in error_of(refused)["message"]


def test_energy_gives_counters_that_only_grow(client):
    first = EnergyCounters.model_validate_json(client.get("/energy").content)
    time.sleep(0.05)
    second = EnergyCounters.model_validate_json(client.get("/energy").content)
    (before,), (after,) = ([row for row in e.meters if row.info.source == "synthetic"] for e in (first, second))
    assert after.joules > before.joules
    assert after.sampled_ns > before.sampled_ns
    assert {gap.source for gap in first.missing} <= {"nvml-counter", "nvml-instant", "nvml-average", "rapl"}


def test_the_energy_of_known_requests_is_what_their_time_costs(checkpoint):
    """Ten requests of 200 ms at 100 W each are 200 J; sleeping too long can only add to that, by what the clock saw."""
    options = {"prefill_ms": "200", "token_ms": "0", "idle_watts": "10", "active_watts": "100"}
    with (
        running_server(checkpoint, engine_options=options) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        time.sleep(0.05)
        start = time.monotonic_ns()
        client.post("/v1/completions", json={"prompt": ["x"] * 10, "max_tokens": 1}).raise_for_status()
        elapsed_s = (time.monotonic_ns() - start) / 1e9
        time.sleep(0.05)
        trace = EnergyTrace.model_validate_json(client.get(f"/energy/trace?since_ns={start}").content)
    (meter,) = [meter for meter in trace.meters if meter.info.source == "synthetic"]
    spent = meter.joules[-1] - max(j for j, at in zip(meter.joules, meter.after_ns, strict=True) if at <= start)
    assert 10 * 100 * 0.195 < spent < 10 * 100 * elapsed_s + 10 * (elapsed_s + 0.3)


def test_a_trace_holds_columns_of_one_length(client):
    trace = EnergyTrace.model_validate_json(client.get("/energy/trace").content)
    for meter in trace.meters:
        assert len({len(meter.before_ns), len(meter.after_ns), len(meter.joules), len(meter.watts)}) == 1


def test_requests_beyond_the_limit_get_a_429_with_retry_after(checkpoint):
    options = {"prefill_ms": "60000"}
    with running_server(checkpoint, max_concurrent_requests=3, engine_options=options) as server:
        too_many = httpx.post(f"{server.url}/v1/completions", json={"prompt": ["a", "b"], "n": 2})
        assert too_many.status_code == 400
        with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as waiting:
            body = b'{"prompt":["a","b"]}'
            waiting.sendall(
                b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            )
            wait_until(lambda: server.running == 2)
            response = httpx.post(f"{server.url}/v1/completions", json={"prompt": ["a", "b"]})
            assert response.status_code == 429
            assert error_of(response)["type"] == "rate_limit_error"
        wait_until(lambda: server.running == 0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_frees_its_place(checkpoint, stream):
    with running_server(checkpoint, engine_options={"prefill_ms": "5", "token_ms": "50"}) as server:
        body = json.dumps({"prompt": ["a", "b"], "max_tokens": 1000, "stream": stream}).encode()
        with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as leaving:
            leaving.sendall(
                b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            )
            wait_until(lambda: server.running == 2)
            if stream:
                assert leaving.recv(4096).startswith(b"HTTP/1.1 200")
        wait_until(lambda: server.running == 0)
        server.model.in_flight.admitted(4096).__enter__()  # all places are free again


def test_a_dying_engine_fails_what_runs_and_turns_health_to_503(checkpoint):
    with running_server(checkpoint, engine_options={"fail_after": "40", "token_ms": "5"}) as server:
        url, results = f"{server.url}/v1/completions", {}

        def ask(key, **fields):
            results[key] = httpx.post(url, json={"prompt": "x", "max_tokens": 1000, **fields}, timeout=20)

        threads = [
            threading.Thread(target=ask, args=("whole",)),
            threading.Thread(target=ask, args=("stream",), kwargs={"stream": True}),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results["whole"].status_code == 503
        assert error_of(results["whole"])["code"] == "engine_dead"
        assert results["stream"].status_code == 200
        *_, last = [line for line in results["stream"].text.split("\n\n") if line]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_dead"
        assert "[DONE]" not in results["stream"].text
        assert error_of(httpx.get(f"{server.url}/health"))["code"] == "engine_dead"
        late = httpx.post(url, json={"prompt": "x", "stream": True})
        assert late.status_code == 503


def test_a_connection_serves_many_requests(client):
    for _ in range(20):
        assert client.post("/v1/completions", json={"prompt": "x", "max_tokens": 1}).status_code == 200


def test_what_could_never_be_served_is_refused_before_work_goes_into_it(checkpoint, monkeypatch):
    """Many or long texts are not tokenized first; a list of wrong things is one error, not a million."""
    with running_server(checkpoint, max_concurrent_requests=8) as server, httpx.Client(base_url=server.url) as client:
        monkeypatch.setattr(server.model, "encode", None)  # touching it would be a 500
        for fields, says in (
            ({"prompt": ["a"] * 9}, "9 sequences"),
            ({"prompt": ["a", "b"], "n": 5}, "10 sequences"),
            ({"prompt": ["a"] * 5000}, "at most 4096"),
            ({"prompt": [[1]] * 5000}, "at most 4096"),
            ({"prompt": "a" * 1_000_000}, "is not read"),
            ({"prompt": "a", "n": 129}, "n: "),
            ({"prompt": [None] * 100_000}, "prompt: must be"),
            ({"prompt": "a", **{f"field{i}": 1 for i in range(1000)}}, "field9: "),
        ):
            refused = client.post("/v1/completions", json=fields)
            assert refused.status_code == 400
            assert says in error_of(refused)["message"]
            assert len(refused.content) < 2000
        chat = client.post("/v1/chat/completions", json={"messages": [{"role": "u", "content": "a" * 1_000_000}]})
        assert error_of(chat)["code"] == "context_length_exceeded"


def test_long_texts_of_one_list_are_read_together_off_the_loop(client):
    texts = ["the quick brown fox " * 100] * 20
    answer = client.post("/v1/completions", json={"prompt": texts, "max_tokens": 1}).json()
    one = client.post("/v1/completions", json={"prompt": texts[0], "max_tokens": 1}).json()
    assert answer["usage"]["prompt_tokens"] == 20 * one["usage"]["prompt_tokens"]


def test_a_moment_that_is_no_number_is_refused(client):
    for since in ("-1", "1_000", " 5", "1e9", "", "9" * 20):
        refused = client.get("/energy/trace", params={"since_ns": since})
        assert refused.status_code == 400, since
        assert error_of(refused)["param"] == "since_ns"
