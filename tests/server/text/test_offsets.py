from __future__ import annotations

from itertools import pairwise

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from server.text.offsets import TextOffsets, offsets_in_text
from server.text.tokenizer import Tokenizer
from tests.server.conftest import (
    byte_level_tokenizer,
    events,
    running_server,
    sentencepiece_tokenizer,
    write_checkpoint,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.text("the an日é👍 ", max_size=40)


@pytest.fixture(scope="module", params=["byte-level", "sentencepiece"])
def either(request, tmp_path_factory):
    made = {"byte-level": byte_level_tokenizer, "sentencepiece": sentencepiece_tokenizer}[request.param]()
    return Tokenizer(write_checkpoint(tmp_path_factory.mktemp("offsets") / request.param, tokenizer=made))


def assert_each_token_is_where_it_says(tokenizer, token_ids, offsets, text, *, skip):
    # A SentencePiece byte is no character where a byte beside it belongs to none.
    fragile = () if tokenizer.is_byte_level else range(3, 259)
    assert all(before <= after for before, after in pairwise([0, *offsets, len(text)]))
    for token_id, offset in zip(token_ids, offsets, strict=True):
        if tokenizer.is_special(token_id) and skip:
            continue
        own = tokenizer.whole_text(token_id)
        if own is not None and token_id not in fragile:
            assert text.startswith(own, offset) or text.startswith(own.removeprefix(" "), offset)


@settings(deadline=None)  # the machine may be busy
@given(token_ids=st.lists(st.integers(0, 299), max_size=40), skip=st.booleans())
def test_any_tokens_are_found_at_their_offsets(either, token_ids, skip):
    """Most of these are bytes that are no characters."""
    offsets = TextOffsets(either.decoder([], skip_special_tokens=skip)).all(token_ids)
    decoder = either.decoder([], skip_special_tokens=skip)
    text = "".join([*map(decoder.push, token_ids), decoder.finish()])
    assert_each_token_is_where_it_says(either, token_ids, offsets, text, skip=skip)


@settings(deadline=None)  # the machine may be busy
@given(text=TEXT)
def test_the_tokens_of_a_text_are_found_in_it(either, text):
    offsets = offsets_in_text(either, text, add_special_tokens=True)
    token_ids = either.encode(text, add_special_tokens=True)
    if either.decode(token_ids, skip_special_tokens=True) == text:
        assert_each_token_is_where_it_says(either, token_ids, offsets, text, skip=True)
    assert all(0 <= offset <= len(text) for offset in offsets)


def test_a_normalized_text_has_offsets_in_the_text_that_was_sent(tmp_path):
    made = byte_level_tokenizer()
    made.normalizer = normalizers.NFC()
    tokenizer = Tokenizer(write_checkpoint(tmp_path / "tiny", tokenizer=made))
    text = "e\u0301 e\u0301 fox"  # five characters that NFC makes three of
    offsets = offsets_in_text(tokenizer, text, add_special_tokens=False)
    assert offsets == sorted(offsets)
    assert 5 <= offsets[-1] < len(text)


@pytest.mark.parametrize("prompt", ["naïve 👍🏽 fox", [0, 130, 131, 99, 140, 0, 80]])
def test_the_servers_offsets_point_into_the_text_it_returns(checkpoint, tokenizer, prompt):
    """With half characters and special tokens; streamed and whole say the same."""
    asked = {"prompt": prompt, "max_tokens": 150, "logprobs": 0, "echo": True}
    with running_server(checkpoint) as server, httpx.Client(base_url=server.url, timeout=20) as client:
        (choice,) = client.post("/v1/completions", json=asked).json()["choices"]
        streamed = events(client.post("/v1/completions", json={**asked, "stream": True}).text)
    offsets = choice["logprobs"]["text_offset"]
    assert offsets == [at for event in streamed for at in event["choices"][0]["logprobs"]["text_offset"]]
    for token, offset in zip(choice["logprobs"]["tokens"], offsets, strict=True):
        if token not in {"<s>", "</s>"} and not token.startswith("bytes:"):
            assert choice["text"].startswith(token, offset)
    assert any(token.startswith("bytes:") for token in choice["logprobs"]["tokens"])
