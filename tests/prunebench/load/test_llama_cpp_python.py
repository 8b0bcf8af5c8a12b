"""`prunebench load URL` against a server that answers as llama-cpp-python's source does; see `llama_cpp_python.py`."""

from __future__ import annotations

import httpx

from loadgen.results.store import read_trial
from tests.prunebench.load.llama_cpp_python import MODEL, running

WORDS = ["--workload", "concurrency", "--output-tokens", 16, "--output", "out"]


def test_a_url_is_all_it_takes_and_each_chunk_is_a_token(prunebench, tmp_path):
    with running() as url:
        done = prunebench("load", url, *WORDS, "--concurrency", 1, "--requests", 5)
    assert done.returncode == 0, done.stderr
    assert "does not tokenize, and there is no --tokenizer: prompt lengths in words" in done.stderr
    result = read_trial(tmp_path / "out")
    assert (result.trial.model, result.trial.engine, result.trial.workload.prompt_as) == (MODEL, None, "words")
    for record in result.records:
        assert (record.error, record.finish_reason, record.counted_by) == (None, "length", "chunks")
        assert record.arrival_tokens == list(range(1, 17))
        assert record.prompt_tokens is None  # a stream has no usage
    assert "each chunk was counted as one token" in " ".join(done.stdout.split())


def test_requests_that_it_cuts_short_for_the_next_are_called_so(prunebench, tmp_path):
    with running() as url:
        done = prunebench("load", url, *WORDS, "--concurrency", 4, "--requests", 24)
    said = " ".join(done.stdout.split())
    assert "requests did not write 16 tokens (1 to " in said
    assert "ended without a finish_reason: the server cut them short" in said
    assert all(record.error is None for record in read_trial(tmp_path / "out").records)


def test_with_interrupt_requests_false_they_wait_for_each_other_and_are_whole(prunebench, tmp_path):
    with running(interrupt_requests=False) as url:
        done = prunebench("load", url, *WORDS, "--concurrency", 4, "--requests", 12)
    assert done.returncode == 0, done.stderr
    assert {record.output_tokens for record in read_trial(tmp_path / "out").records} == {16}
    assert "output-length-differs" not in done.stdout


def test_prompts_as_token_ids_are_refused_as_it_refuses_them(prunebench, tmp_path):
    with running() as url:
        assert httpx.post(f"{url}/v1/completions", json={"prompt": [1, 2], "stream": True}).status_code == 500
        done = prunebench("load", url, *WORDS, "--concurrency", 1, "--requests", 2, "--prompt-as", "ids")
    assert done.returncode == 2
    assert "does not tokenize" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_model_that_it_does_not_list_is_one_line(prunebench):
    with running() as url:
        done = prunebench("load", url, "--model", "other")
    assert (done.returncode, done.stderr) == (2, f"prunebench: --model other: {url} serves {MODEL}\n")
