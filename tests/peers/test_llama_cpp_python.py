"""llama-cpp-python's own server, loaded by each kind and compared in a run; `tests/prunebench/load/llama_cpp_python.py` stands for it."""

from __future__ import annotations

import json

import pytest

from loadgen.results.store import read_trial
from reports.runs.reading import read_run
from tests.peers.conftest import HEALTH, LLAMA_CPP_PYTHON, NEEDS_IT, serving
from tests.prunebench.conftest import TINYGLU, TWO_BLOCKS, one_at_a_time

pytestmark = [pytest.mark.peer, pytest.mark.slow, NEEDS_IT]

KINDS = {
    "single": ["--requests", 3],
    "batch": ["--batch-size", 2, "--requests", 4],
    "concurrency": ["--concurrency", 2, "--requests", 5],
    "constant": ["--rate", 8, "--requests", 5],
    "poisson": ["--rate", 8, "--requests", 5],
    "burst": ["--rate", 8, "--burstiness", 0.5, "--requests", 5],
    "on-off": ["--rate", 8, "--on", "0.5s", "--off", "0.5s", "--requests", 5],
    "ramp": ["--rate", 3, "--end-rate", 8, "--duration", "1s"],
    "trace": ["--trace", "trace.jsonl", "--speed", 10],
    "sessions": ["--concurrency", 2, "--turns", 2, "--requests", 4],
    "mix": ["--rate", 8, "--requests", 6, "--parts", "parts.json"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_loaded_by_each_kind(prunebench, url, tmp_path, kind):
    parts = [{"name": "short", "prompt_tokens": 8}, {"name": "long", "weight": 2, "prompt_tokens": 32}]
    (tmp_path / "parts.json").write_text(json.dumps(parts))
    lines = [{"timestamp": 500 * n, "input_length": 8, "output_length": 6, "hash_ids": [n]} for n in range(4)]
    (tmp_path / "trace.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    lengths = [] if kind == "trace" else ["--output-tokens", 6]
    words = ["--workload", kind, *KINDS[kind], *lengths, "--prompt-as", "words", "--warmup-requests", 0]
    done = prunebench("load", url, *words, "--output", "out")
    assert done.returncode == 0, done.stdout + done.stderr
    records = read_trial(tmp_path / "out").records
    assert len(records) >= 3
    assert {record.error for record in records} == {None}
    assert all(record.output_tokens for record in records)


def test_a_url_is_all_it_takes_and_each_chunk_is_a_token(prunebench, url, tmp_path):
    words = ["--workload", "concurrency", "--concurrency", 1, "--requests", 4, "--output-tokens", 12]
    done = prunebench("load", url, *words, "--output", "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "does not tokenize, and there is no --tokenizer: prompt lengths in words" in done.stderr
    result = read_trial(tmp_path / "out")
    assert (result.trial.engine, result.trial.workload.prompt_as) == (None, "words")
    for record in result.records:
        assert (record.counted_by, record.prompt_tokens) == ("chunks", None)


def test_it_answers_chats(prunebench, url, tmp_path):
    words = ["--endpoint", "chat", "--prompt-as", "words", "--requests", 3, "--output-tokens", 6]
    done = prunebench("load", url, *words, "--output", "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {record.error for record in read_trial(tmp_path / "out").records} == {None}


def test_requests_that_it_cuts_short_for_the_next_are_called_so(prunebench, tmp_path):
    words = ["--workload", "concurrency", "--concurrency", 4, "--requests", 24, "--output-tokens", 64]
    with serving(tmp_path) as address:
        done = prunebench("load", address, *words, "--output", "out")
    said = " ".join(done.stdout.split())
    assert "ended without a finish_reason: the server cut them short" in said


EXPERIMENT = f"""
name = "theirs"
[[configurations]]
label = "ours"
checkpoint = "{TINYGLU}"
[[configurations]]
label = "llama.cpp"
command = "{LLAMA_CPP_PYTHON} --port {{port}}"
health = "{HEALTH}"
[serve]
engine = "transformers"
options = {{ dtype = "float32" }}
keep_servers = true
{TWO_BLOCKS}{one_at_a_time(4, prompt_tokens=16, output_tokens=12)}"""


def test_as_a_command_it_is_compared_with_ours_and_answers_the_same(prunebench, tmp_path):
    (tmp_path / "theirs.toml").write_text(EXPERIMENT)
    done = prunebench("run", "theirs.toml", "--output", "out", timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    found = read_run(tmp_path / "out")
    assert (len(found.trials), found.failures) == (4, [])
    assert {t.trial.workload.prompt_as for t in found.trials} == {"text"}
    ours, theirs = ({text.partition(": ")[2] for text in c.answers.values()} for c in found.configurations)
    assert ours == theirs  # the same weights, and the same greedy words
    assert len(ours) == 1
