from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tokenizers.decoders import DecodeStream

from server.settings import ServeError
from server.text import tokenizer as module
from server.text.tokenizer import Tokenizer
from tests.server.conftest import byte_level_tokenizer, sentencepiece_tokenizer, write_checkpoint

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.text("the an日é👍 ", max_size=40)


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory):
    return Tokenizer(write_checkpoint(tmp_path_factory.mktemp("byte-level"), tokenizer=byte_level_tokenizer()))


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory):
    return Tokenizer(write_checkpoint(tmp_path_factory.mktemp("sentencepiece"), tokenizer=sentencepiece_tokenizer()))


def streamed(tokenizer, token_ids, prompt=(), *, skip=True):
    decoder = tokenizer.decoder(prompt, skip_special_tokens=skip)
    return [*(decoder.push(token_id) for token_id in token_ids), decoder.finish()]


@given(token_ids=st.lists(st.integers(0, 399), max_size=40), skip=st.booleans())
def test_any_byte_level_tokens_stream_to_what_they_decode_to_at_once(byte_level, token_ids, skip):
    pieces = streamed(byte_level, token_ids, skip=skip)
    assert "".join(pieces) == byte_level.decode(token_ids, skip_special_tokens=skip)


@pytest.fixture
def short_slices(monkeypatch):
    """Lists are decoded a few tokens at a time."""
    monkeypatch.setattr(module, "INLINE", 0)
    monkeypatch.setattr(module, "SLICE", 3)


def at_once(tokenizer, token_ids, *, skip):
    return tokenizer._tokenizer.decode(token_ids, skip_special_tokens=skip)


@pytest.mark.usefixtures("short_slices")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(token_ids=st.lists(st.integers(0, 399), max_size=40), skip=st.booleans())
def test_any_byte_level_tokens_decode_in_slices_as_at_once(byte_level, token_ids, skip):
    assert byte_level.decode(token_ids, skip_special_tokens=skip) == at_once(byte_level, token_ids, skip=skip)


@pytest.mark.usefixtures("short_slices")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(token_ids=st.lists(st.integers(0, 290), max_size=40), skip=st.booleans())
def test_so_do_any_of_sentencepiece(sentencepiece, token_ids, skip):
    assert sentencepiece.decode(token_ids, skip_special_tokens=skip) == at_once(sentencepiece, token_ids, skip=skip)


@given(text=TEXT)
def test_sentencepiece_text_streams_to_what_it_decodes_to_at_once(sentencepiece, text):
    token_ids = sentencepiece.encode(text, add_special_tokens=False)
    assert "".join(streamed(sentencepiece, token_ids)) == sentencepiece.decode(token_ids, skip_special_tokens=True)


@given(text=TEXT, cut=st.integers(0, 60))
@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece"])
def test_output_continues_the_prompt_where_it_ends(kind, request, text, cut):
    """Also in the middle of a character or before a space that a text's first token would lose."""
    tokenizer = request.getfixturevalue(kind)
    assert_continued(tokenizer, text, cut)


@given(text=st.text("日é👍", min_size=4, max_size=8), cut=st.integers(0, 30))
def test_output_continues_a_prompt_of_nothing_but_byte_tokens(sentencepiece, text, cut):
    """What the decoder is shown of the prompt then begins inside a character."""
    assert_continued(sentencepiece, text, cut)


def assert_continued(tokenizer, text, cut):
    assume("\ufffd" not in text)  # at the prompt's end it looks like half a character, and is sent again
    token_ids = tokenizer.encode(text, add_special_tokens=False)
    whole = tokenizer.decode(token_ids, skip_special_tokens=True)
    prompts = [tokenizer.decode(token_ids[:end], skip_special_tokens=True).rstrip("\ufffd") for end in range(cut + 1)]
    before = max((prompt for prompt in prompts if whole.startswith(prompt)), key=len)  # the prompt's whole characters
    assert before + "".join(streamed(tokenizer, token_ids[cut:], token_ids[:cut])) == whole


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece"])
def test_no_piece_ever_holds_half_a_character(kind, request):
    tokenizer = request.getfixturevalue(kind)
    pieces = streamed(tokenizer, tokenizer.encode("日本 👍🏽 ok", add_special_tokens=False))
    assert "".join(pieces).strip() == "日本 👍🏽 ok"
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_cut_off_at_the_end_is_shown_as_unknown(byte_level):
    half = byte_level.encode("日", add_special_tokens=False)[:1]
    if byte_level.token_bytes(half[0]) == "日".encode():
        pytest.skip("the trained vocabulary has the whole character")
    assert streamed(byte_level, half) == ["", "\ufffd"]


def test_endless_bytes_that_are_no_text_come_out_all_the_same(sentencepiece):
    """A model with random weights writes them; nothing may pile up."""
    stray = 3 + 0x80
    pieces = streamed(sentencepiece, [stray] * 100)
    assert "".join(pieces) == "\ufffd" * 100
    assert pieces[50:90] != [""] * 40


def test_the_librarys_own_stream_still_raises_on_bytes_that_are_no_text(sentencepiece):
    """Once it does not, it can replace our decoder (see server.text.decoders)."""
    stream = DecodeStream(skip_special_tokens=True)
    token_ids = random.Random(0).choices(range(sentencepiece.vocabulary), k=2000)
    with pytest.raises(Exception, match="Invalid prefix encountered"):
        [stream.step(sentencepiece._tokenizer, token_id) for token_id in token_ids]


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece"])
def test_ids_beyond_the_vocabulary_are_no_text(kind, request):
    """Models pad their vocabulary; the tokenizer does not know those ids."""
    tokenizer = request.getfixturevalue(kind)
    the = tokenizer.encode("the", add_special_tokens=False)
    assert "".join(streamed(tokenizer, [*the, 99999, *the])).replace(" ", "") == "thethe"


def test_special_tokens_are_text_only_when_asked(byte_level):
    end = byte_level.vocabulary and 1
    assert "".join(streamed(byte_level, [end])) == ""
    assert "".join(streamed(byte_level, [end], skip=False)) == "</s>"


def test_bos_is_added_as_the_post_processor_does(byte_level):
    assert byte_level.encode("the", add_special_tokens=True) == [0, *byte_level.encode("the", add_special_tokens=False)]


def test_one_token_that_is_no_text_is_written_as_its_bytes(byte_level):
    ids = {byte_level.token_text(i): i for i in range(byte_level.vocabulary)}
    assert r"bytes:\xe2" in ids
    assert byte_level.token_bytes(ids[r"bytes:\xe2"]) == b"\xe2"


def test_single_tokens_of_a_byte_level_vocabulary_have_distinct_texts(byte_level):
    """top_logprobs is keyed by them."""
    texts = [byte_level.token_text(i) for i in range(byte_level.vocabulary)]
    assert len(set(texts)) == len(texts)


def test_sentencepiece_tokens_keep_their_space(sentencepiece):
    the = sentencepiece.encode("the", add_special_tokens=False)
    assert sentencepiece.token_text(the[0]) == " the"


def test_the_files_own_truncation_and_padding_are_off(tmp_path):
    made = byte_level_tokenizer()
    made.enable_truncation(4)
    made.enable_padding(length=64)
    loaded = Tokenizer(write_checkpoint(tmp_path, tokenizer=made))
    assert loaded.decode(
        loaded.encode("the quick brown fox jumps", add_special_tokens=False), skip_special_tokens=False
    ) == ("the quick brown fox jumps")


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(ServeError, match=r"tokenizer\.json: not found"):
        Tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ServeError, match=r"tokenizer\.json: cannot be read"):
        Tokenizer(tmp_path)
