from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer

from loadgen.endpoint import Endpoint, LoadError
from loadgen.prompts import SyntheticPrompts, ordinary_tokens, read_prompts, served_tokens
from tests.loadgen.scripted import ScriptedServer
from tests.server.conftest import running_server, sentencepiece_tokenizer, write_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.mark.parametrize("length", [1, 64, 1000])
def test_prompts_have_exactly_the_length_asked_for_and_only_the_pools_tokens(length):
    prompts = SyntheticPrompts([5, 6, 7], length, seed=0)
    assert [len(prompts[n]) for n in range(20)] == [length] * 20
    assert set(prompts[0]) <= {5, 6, 7}


def test_the_same_seed_gives_the_same_prompts_in_any_order_and_another_seed_others():
    first, again = SyntheticPrompts(range(100), 16, 1), SyntheticPrompts(range(100), 16, 1)
    assert [first[n] for n in range(5)] == [again[n] for n in reversed(range(5))][::-1]
    assert first[0] != SyntheticPrompts(range(100), 16, 2)[0]


def test_no_two_prompts_share_a_prefix_that_a_cache_could_hold():
    prompts = SyntheticPrompts(range(150), 32, seed=0)
    # Warm-up requests count down from -1.
    prefixes = {tuple(prompts[n][:8]) for n in range(-200, 2000)}
    assert len(prefixes) == 2200


@pytest.mark.parametrize("kind", ["byte-level", "sentencepiece"])
def test_ordinary_tokens_are_words_and_never_special(tmp_path, kind):
    tokenizer = sentencepiece_tokenizer() if kind == "sentencepiece" else None
    folder = write_checkpoint(tmp_path / "tiny", tokenizer=tokenizer)
    pool = ordinary_tokens(folder)
    loaded = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert len(pool) > 25
    assert ordinary_tokens(folder / "tokenizer.json") == pool
    special = {loaded.token_to_id(text) for text in ("<s>", "</s>", "<unk>")}
    assert not special & set(pool)
    assert all(loaded.decode([token]).strip().isalpha() for token in pool)


def test_a_tokenizer_that_cannot_be_read_or_has_no_words_names_its_flag(tmp_path):
    with pytest.raises(LoadError, match="--tokenizer"):
        ordinary_tokens(tmp_path / "nothing")
    vocabulary = {"model": {"type": "WordLevel", "vocab": {"1": 0, "2": 1}, "unk_token": "1"}, "version": "1.0"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(vocabulary))
    with pytest.raises(LoadError, match=r"--tokenizer .*no tokens of plain text"):
        ordinary_tokens(tmp_path)


def test_a_server_that_tokenizes_gives_the_pool_and_takes_it_back(checkpoint):
    with running_server(checkpoint) as server:
        endpoint = Endpoint(server.url, "tiny")
        pool = served_tokens(endpoint)
        with endpoint.client() as client:
            text = client.post("/detokenize", json={"tokens": pool}).raise_for_status().json()["prompt"]
    assert len(pool) > 20
    assert "<s>" not in text


def test_a_server_that_does_not_tokenize_names_the_ways_out():
    with (
        ScriptedServer(lambda *_: [b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"]) as server,
        pytest.raises(LoadError, match=r"--tokenizer PATH or --prompts FILE"),
    ):
        served_tokens(Endpoint(server.url, "m"))


def test_text_prompts_are_lines_and_start_again_when_they_run_out(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("one\n\ntwo é\n", "utf-8")
    prompts = read_prompts(file)
    assert [prompts[n] for n in range(3)] == ["one", "two é", "one"]


def test_jsonl_prompts_are_the_prompt_key(tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "a\\nb", "id": 1}\n\n{"prompt": "c"}\n')
    assert [read_prompts(file)[n] for n in range(2)] == ["a\nb", "c"]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("p.jsonl", '{"prompt": "a"}\n{"text": "b"}\n', "line 2"),
        ("p.jsonl", "[1]\n", "line 1"),
        ("p.jsonl", '{"prompt": 5}\n', "line 1"),
        ("p.txt", "\n\n", "no prompts"),
    ],
)
def test_a_file_of_prompts_that_is_none_is_named_with_the_line(tmp_path, name, text, reason):
    (tmp_path / name).write_text(text)
    with pytest.raises(LoadError, match=rf"--prompts .*{reason}"):
        read_prompts(tmp_path / name)


def test_a_file_of_prompts_that_is_missing_is_named(tmp_path):
    with pytest.raises(LoadError, match=r"--prompts .*missing\.txt"):
        read_prompts(tmp_path / "missing.txt")
