"""What grows with a request leaves the event loop, or is refused before it is done."""

from __future__ import annotations

import json
import threading

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server import app, completions
from server.off_loop import json_text
from server.tokenizer import Tokenizer
from tests.server.conftest import events, running_server

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None)  # the machine may be busy
@given(value=JSON, copies=st.sampled_from([0, 1, 256, 257, 1000]))
def test_json_written_in_slices_is_the_same_json(value, copies):
    whole = {"a": value, "many": [value] * copies}
    assert json_text(whole) == json.dumps(whole)


@pytest.fixture
def threads_of(monkeypatch):
    """The names of the threads that call a function."""

    def watch(owner, name):
        found, function = set(), getattr(owner, name)

        def watched(*args, **kwargs):
            found.add(threading.current_thread().name)
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, watched)
        return found

    return watch


def off_loop(names):
    return bool(names) and all(name.startswith("off-loop") for name in names)


LONG = "the quick brown fox " * 1200


@pytest.mark.parametrize(
    ("path", "body", "owner", "function"),
    [
        ("/tokenize", {"prompt": LONG}, app, "parse"),
        ("/tokenize", {"prompt": LONG}, Tokenizer, "encode"),
        ("/detokenize", {"tokens": [5] * 30_000}, Tokenizer, "decode"),
        ("/v1/completions", {"prompt": [LONG[:2000]] * 20}, Tokenizer, "encode"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": LONG}]}, Tokenizer, "encode"),
        (
            "/v1/completions",
            {"prompt": [[5, 6] * 500] * 4, "echo": True, "logprobs": 20},
            completions,
            "completion_logprobs",
        ),
    ],
)
def test_large_requests_are_worked_on_in_threads(client, threads_of, path, body, owner, function):
    names = threads_of(owner, function)
    client.post(path, json={**body, "max_tokens": 1} if path.startswith("/v1") else body)
    assert off_loop(names), names


@pytest.mark.parametrize("stream", [False, True])
def test_small_requests_stay_on_the_loop(client, threads_of, stream):
    names = [threads_of(app, "parse"), threads_of(Tokenizer, "encode"), threads_of(completions, "completion_logprobs")]
    asked = {"prompt": "the quick", "echo": True, "logprobs": 1, "max_tokens": 2, "stream": stream}
    assert client.post("/v1/completions", json=asked).status_code == 200
    assert all(found and not off_loop(found) for found in names)


def test_large_streamed_and_whole_scores_are_the_same(client):
    asked = {"prompt": [[5, 6] * 400, [7] * 900], "echo": True, "logprobs": 5, "max_tokens": 3, "n": 2}
    choices = client.post("/v1/completions", json=asked).json()["choices"]
    streamed = [
        event["choices"][0] for event in events(client.post("/v1/completions", json={**asked, "stream": True}).text)
    ]
    for choice in choices:
        mine = [event for event in streamed if event["index"] == choice["index"]]
        assert "".join(event["text"] for event in mine) == choice["text"]
        for column, values in choice["logprobs"].items():
            assert [value for event in mine for value in event["logprobs"][column]] == values


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/tokenize", {"prompt": "é" * 300_000}, "bytes is not read"),
        ("/detokenize", {"tokens": [5] * 300_000}, "tokens is not read"),
        ("/v1/completions", {"prompt": "a", **{f"field{i}": 1 for i in range(50_000)}}, "field9: "),
        ("/v1/chat/completions", {"messages": [{"role": "u"}] * 50_000}, "at most 4096"),
        ("/v1/chat/completions", {"messages": [{"role": "u", "content": [{"type": "text", "text": ""}] * 9_000}]}, "at most 4096"),
        ("/v1/chat/completions", {"messages": [{"role": "u", **{f"field{i}": 1 for i in range(9_000)}}]}, "messages.0.field9"),
        ("/v1/completions", {"prompt": "a", "model": "m" * 100_000}, "characters more"),
        ("/v1/completions", {"prompt": "a", "f" * 100_000: 1}, "characters more"),
        ("/v1/completions", {"prompt": [[5] * 1000] * 4, "echo": True, "logprobs": 20, "n": 128}, "one answer holds"),
    ],
)  # fmt: skip
def test_what_is_too_much_is_one_short_error(client, path, body, says):
    refused = client.post(path, json=body)
    assert refused.status_code in {400, 404}
    assert says in refused.json()["error"]["message"]
    assert len(refused.content) < 5000


def test_a_text_of_as_many_bytes_as_fit_is_read(checkpoint):
    with (
        running_server(checkpoint, engine_options={"max_model_len": "16"}) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        most = server.model.longest_text
        assert client.post("/tokenize", json={"prompt": "é" * (most // 2)}).status_code == 200
        assert client.post("/tokenize", json={"prompt": "é" * (most // 2 + 1)}).status_code == 400
