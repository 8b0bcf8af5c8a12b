"""What grows with a request leaves the event loop, or is refused before it is done."""

from __future__ import annotations

import asyncio
import json
import threading

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server import model
from server.api import completions, route
from server.api.requests.body import parse
from server.api.requests.completion import CompletionRequest
from server.api.requests.tokenization import DetokenizeRequest
from server.errors import ApiError
from server.model import Model
from server.offloading.json_writer import body_slices, json_parts, json_text, written_list
from server.offloading.off_loop import INLINE, SLICE, slices
from server.offloading.off_loop import off_loop as work_off_loop
from server.text.tokenizer import Tokenizer
from tests.server.conftest import events, running_server

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None)  # the machine may be busy
@given(value=JSON, copies=st.sampled_from([0, 1, 32, 33, 1000, 3000]))
def test_json_written_in_slices_is_the_same_json(value, copies):
    whole = {"a": value, "many": [value] * copies, "long": str(value) * copies, "none": {}}
    assert json_text(whole) == json.dumps(whole)


@given(lists=st.lists(st.lists(st.integers())))
def test_so_is_a_list_whose_members_were_written_earlier(lists):
    written = written_list(json_text(members)[1:-1] for members in lists)
    assert json_text({"a": written}) == json.dumps({"a": [member for members in lists for member in members]})


@pytest.mark.parametrize("long", [[5] * 300_000, "é" * 300_000, ["the"] * 300_000, [{"the": -1.5}] * 30_000])
def test_a_body_is_sent_in_slices_of_one_size(long):
    slices = body_slices(json_parts({"long": long}))
    assert json.loads(b"".join(slices)) == {"long": long}
    assert max(map(len, slices)) < 1 << 20


@settings(deadline=None, max_examples=20)
@given(token=st.integers() | st.text(), at=st.integers(0, 20_000))
def test_a_list_validated_in_slices_holds_what_it_held_and_nothing_else(token, at):
    tokens = [*range(at), token, *range(20_000 - at)]
    body = json.dumps({"tokens": tokens}).encode()
    if isinstance(token, int):
        assert parse(DetokenizeRequest, body).tokens == tokens
    else:
        with pytest.raises(ApiError, match="tokens: Input should be a valid integer"):
            parse(DetokenizeRequest, body)


def test_pydantic_is_given_a_slice_at_a_time(monkeypatch):
    lengths = []
    monkeypatch.setattr(
        "server.api.requests.body.slices", lambda values: (lengths.append(len(some)) or some for some in slices(values))
    )
    parse(CompletionRequest, json.dumps({"prompt": [[5, 6] * 10_000] * 2}).encode())
    assert max(lengths) == SLICE


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


@pytest.fixture(scope="module")
def roomy(checkpoint):
    """A client of a server whose context holds large requests."""
    with (
        running_server(checkpoint, engine_options={"max_model_len": "100000"}) as server,
        httpx.Client(base_url=server.url, timeout=20) as client,
    ):
        yield client


def off_loop(names):
    return bool(names) and all(name.startswith("off-loop") for name in names)


def test_work_in_python_takes_turns_and_tokenizing_continues_beside_it():
    may_end, done = threading.Event(), []

    async def main():
        first = asyncio.ensure_future(work_off_loop(lambda: may_end.wait(20) and done.append("first"), INLINE + 1))
        second = asyncio.ensure_future(work_off_loop(lambda: done.append("second"), INLINE + 1))
        await work_off_loop(lambda: done.append("tokenized"), INLINE + 1, is_tokenizing=True)
        may_end.set()
        await asyncio.gather(first, second)

    asyncio.run(main())
    assert done == ["tokenized", "first", "second"]


LONG = "the quick brown fox " * 1200


@pytest.mark.parametrize(
    ("path", "body", "owner", "function"),
    [
        ("/tokenize", {"prompt": LONG}, route, "parse"),
        ("/tokenize", {"prompt": LONG}, Tokenizer, "encode"),
        ("/detokenize", {"tokens": [5] * 30_000}, Tokenizer, "decode"),
        ("/detokenize", {"tokens": [5] * 30_000}, Model, "check_tokens"),
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
def test_large_requests_are_worked_on_in_threads(roomy, threads_of, path, body, owner, function):
    names = threads_of(owner, function)
    roomy.post(path, json={**body, "max_tokens": 1} if path.startswith("/v1") else body)
    assert off_loop(names), names


@pytest.mark.parametrize("stream", [False, True])
def test_small_requests_stay_on_the_loop(client, threads_of, stream):
    names = [
        threads_of(route, "parse"),
        threads_of(Tokenizer, "encode"),
        threads_of(completions, "completion_logprobs"),
    ]
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
        ("/detokenize", {"tokens": [5] * 4097}, "4097 token ids are more than the maximum context length of 4096"),
        ("/v1/completions", {"prompt": [[5], [5] * 5000]}, "maximum context length of 4096"),
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


def test_more_tokens_than_an_answer_lists_are_counted_and_refused(client, monkeypatch):
    monkeypatch.setattr(model, "_MOST_LISTED", 4500)
    refused = client.post("/tokenize", json={"prompt": LONG})
    assert refused.status_code == 400
    assert "are more than the 4500 that an answer lists" in refused.json()["error"]["message"]
