from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import pytest
from tokenizers import Tokenizer

from loadgen.endpoint import Endpoint, LoadError
from loadgen.prompts.synthetic import SyntheticPrompts, TracePrompts, make_prompts
from loadgen.prompts.tokens import check_served_tokenizer, count_tokens, plain_tokens, read_tokenizer, served_tokens
from loadgen.workloads.fields.trace_file import TraceRow
from tests.loadgen.made import workload
from tests.loadgen.scripted import ScriptedServer
from tests.server.conftest import byte_level_tokenizer, running_server, sentencepiece_tokenizer, write_checkpoint


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
    loaded = Tokenizer.from_file(str(folder / "tokenizer.json"))
    pool = plain_tokens(loaded)
    assert len(pool) > 25
    assert read_tokenizer(folder).to_str() == read_tokenizer(folder / "tokenizer.json").to_str() == loaded.to_str()
    special = {loaded.token_to_id(text) for text in ("<s>", "</s>", "<unk>")}
    assert not special & set(pool)
    assert all(loaded.decode([token]).strip().isalpha() for token in pool)


def test_a_tokenizer_that_cuts_off_and_pads_does_neither_here(tmp_path):
    folder = write_checkpoint(tmp_path / "tiny")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = "one two three four five six"
    tokens = tokenizer.encode(text, add_special_tokens=False).ids
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=99)
    tokenizer.save(str(folder / "tokenizer.json"))
    assert count_tokens(folder)(text) == len(tokens) > 4


def test_a_tokenizer_that_cannot_be_read_or_has_no_words_names_its_flag(tmp_path):
    with pytest.raises(LoadError, match="--tokenizer"):
        read_tokenizer(tmp_path / "nothing")
    vocabulary = {"model": {"type": "WordLevel", "vocab": {"1": 0, "2": 1}, "unk_token": "1"}, "version": "1.0"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(vocabulary))
    with pytest.raises(LoadError, match="--tokenizer: has no tokens of plain text"):
        make_prompts(workload(), read_tokenizer(tmp_path), seed=0)


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


@pytest.mark.parametrize("kind", ["byte-level", "sentencepiece"])
@pytest.mark.parametrize("length", [2, 64, 700])
def test_text_prompts_have_exactly_their_number_of_tokens_and_come_back_as_they_were(tmp_path, kind, length):
    tokenizer = word_tokenizer() if kind == "byte-level" else sentencepiece_tokenizer()
    load = workload(prompt_tokens=length, prompt_as="text")
    row = make_prompts(load, tokenizer, seed=3)
    texts = [row[n] for n in range(10)]
    assert [len(tokenizer.encode(text).ids) for text in texts] == [length] * 10
    for text in texts:
        words = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(tokenizer.decode(words), add_special_tokens=False).ids == words
    assert len(set(texts)) == (10 if length > 2 else len(set(texts)))


def word_tokenizer():
    """Byte-level, with words of their own, and a token before every text."""
    tokenizer = byte_level_tokenizer()
    assert len(tokenizer.encode("").ids) == 1
    return tokenizer


def test_text_is_not_made_by_guesswork():
    with pytest.raises(LoadError, match=r"--prompt-as text: needs .*--tokenizer"):
        make_prompts(workload(prompt_as="text"), [1, 2, 3], seed=0)


def test_prompts_drawn_from_a_distribution_have_the_lengths_that_the_workload_says_in_every_process():
    load = workload(prompt_tokens="uniform:5-50")
    row = make_prompts(load, range(100), seed=4)
    lengths = [len(row[n]) for n in range(200)]
    assert lengths == [load.prompt_length(4, n) for n in range(200)]
    assert (min(lengths), max(lengths)) == (5, 50)
    code = (
        "from loadgen.prompts.synthetic import SyntheticPrompts; import json;"
        "row = SyntheticPrompts(range(100), 'uniform:5-50', 4); print(json.dumps([row[n] for n in range(20)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [row[n] for n in range(20)]


def test_a_shared_prefix_is_the_same_for_all_and_what_follows_is_not():
    row = make_prompts(workload(prompt_tokens=40, shared_prefix=30), range(1000), seed=1)
    assert {tuple(row[n][:30]) for n in range(-5, 50)} == {tuple(row[0][:30])}
    assert len({tuple(row[n][30:]) for n in range(-5, 50)}) == 55
    assert len(row[7]) == 40


def test_prompts_of_a_group_share_a_prefix_and_groups_are_alike_in_size():
    row = make_prompts(workload(prompt_tokens=40, shared_prefix=30, prefix_groups=4), range(1000), seed=1)
    found = Counter(tuple(row[n][:30]) for n in range(400))
    assert len(found) == 4
    assert min(found.values()) > 70


def test_prompts_of_a_trace_begin_alike_where_its_hashes_do():
    rows = [
        TraceRow(0, 1100, 5, (1, 2, 3)),
        TraceRow(1, 1030, 5, (1, 2, 9)),
        TraceRow(2, 20, 5, ()),
        TraceRow(3, 512, 5, (7,)),
    ]
    row = TracePrompts(range(10_000), rows, seed=2)
    assert [len(row[n]) for n in range(4)] == [1100, 1030, 20, 512]
    assert row[0][:1024] == row[1][:1024]
    assert row[0][1024:1030] != row[1][1024:]
    assert row[3][:20] != row[0][:20]
    assert row[-4][:20] != row[0][:20]  # a warm-up request fills no cache for the measured ones


def test_a_tokenizer_that_the_server_does_not_use_is_refused(checkpoint, tmp_path):
    mine = read_tokenizer(checkpoint)
    with running_server(checkpoint) as server:
        endpoint = Endpoint(server.url, "tiny")
        check_served_tokenizer(endpoint, mine)
        with pytest.raises(LoadError, match="--tokenizer: differs from that of"):
            check_served_tokenizer(endpoint, sentencepiece_tokenizer())
    with ScriptedServer(lambda *_: [b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"]) as server:
        check_served_tokenizer(Endpoint(server.url, "m"), mine)  # it cannot say
