"""`prunebench evaluate` as a user runs it."""

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from base.errors import UserError
from prunebench.commands.evaluate import evaluate
from prunebench.servers.commands import ServerCommand
from prunebench.servers.process import start_server
from reports.runs.records.quality import TaskResult
from tests.prunebench.conftest import TINYGLU

pytestmark = pytest.mark.slow
SERVED = ("--engine", "transformers", "--engine-option", "dtype=float32")


@pytest.fixture(scope="module")
def at_a_url(tmp_path_factory):
    """What asks a server that is running already, to which the tests come that need none of their own."""
    command = ServerCommand(TINYGLU, "tinyglu", "transformers", {"dtype": "float32"}, None)
    log = tmp_path_factory.mktemp("server") / "log"
    server = start_server(command, log, start_timeout_s=120, request_timeout_s=60)
    yield server.endpoint.url, "--model", "tinyglu", "--tokenizer", TINYGLU
    server.stop()


def result(folder: Path, task: str) -> TaskResult:
    return TaskResult.model_validate_json((folder / f"{task}.json").read_bytes())


def test_tasks_are_asked_of_what_is_served_and_modelled_joules_stay_apart(prunebench, tmp_path):
    done = prunebench(
        "evaluate", TINYGLU, "--tasks", "tinyglu_form,tinyglu_signature", "--limit", 8, "--output", "out", "--json",
        "--modelled-watts-per-core", 5, *SERVED, timeout=400, asks_tasks=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert [r["task"] for r in printed["results"]] == ["tinyglu_form", "tinyglu_signature"]
    own = result(tmp_path / "out", "tinyglu_signature")
    assert (own.items, len(own.values), own.version, own.shots) == (8, 8, "1.0", 0)
    assert own.scores[0].standard_error is not None
    assert own.chance == 0.25
    assert result(tmp_path / "out", "tinyglu_form").chance == 0
    assert own.settings.backend == "endpoint"
    assert own.settings.limit == 8
    assert own.settings.seeds["fewshot"] == 1234
    assert own.settings.harness.startswith("lm-eval 0.4.")
    assert own.tokens is not None
    assert own.tokens > 8 * 4 * 5
    cost = printed["cost"]
    assert cost["tokens"] == sum(r["tokens"] for r in printed["results"])
    assert cost["modelled_joules"] > 0
    if cost["joules"] is None:  # no meter here
        assert cost["reason"]
        assert cost["joules_per_token"] is None


def test_a_url_alone_gives_the_perplexity_that_the_checkpoint_gives(prunebench, at_a_url, tmp_path):
    url, *_, checkpoint = at_a_url
    found = []
    for words in ([url], [url, "--tokenizer", checkpoint]):
        done = prunebench("evaluate", *words, "--json", "--output", f"out-{len(words)}")
        assert done.returncode == 0, done.stderr
        assert "note: no --tasks: perplexity of Python's own documentation" in done.stderr
        found.append(json.loads(done.stdout)["perplexity"])
    by_server, by_checkpoint = found
    assert "tokenized by the server in parts of" in by_server["text"]
    assert by_server["text_sha256"] == by_checkpoint["text_sha256"]
    assert by_server["tokens"] == by_checkpoint["tokens"] > 10_000
    assert by_server["perplexity"] == pytest.approx(
        by_checkpoint["perplexity"], rel=0.02
    )  # a part's first token differs
    assert (tmp_path / "out-1" / "perplexity.json").is_file()


def test_a_killed_evaluation_goes_on_where_it_was(prunebench, started, tmp_path):
    served = ("--engine", "synthetic", "--engine-option", "prefill_ms=20", "--engine-option", "token_ms=0.1")
    words = ("evaluate", TINYGLU, "--tasks", "tinyglu_form,tinyglu_signature", "--output", "out", *served)
    process = started(*words)
    first = tmp_path / "out" / "tinyglu_form.json"
    deadline = time.monotonic() + 150
    while not first.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = first.read_bytes()
    assert not (tmp_path / "out" / "tinyglu_signature.json").exists()
    again = prunebench(*words, "--limit", 4, asks_tasks=True)
    assert again.returncode == 2
    assert "add --resume" in again.stderr
    done = prunebench(*words, "--resume", asks_tasks=True)
    assert done.returncode == 0, done.stderr
    assert first.read_bytes() == before
    assert result(tmp_path / "out", "tinyglu_signature").items == 160
    shutil.copytree(TINYGLU, tmp_path / "other")
    other = prunebench("evaluate", "other", *words[2:], "--resume", asks_tasks=True)
    assert other.returncode == 2
    assert "--resume: out holds an evaluation of" in other.stderr


def test_without_a_hub_a_task_says_so_and_the_others_go_on(prunebench, at_a_url, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    done = prunebench(
        "evaluate", *at_a_url, "--tasks", "piqa,tinyglu_form", "--limit", 4, "--output", "out", timeout=100
    )
    assert done.returncode == 1, done.stderr
    said = "piqa: no score: its data set is not in this machine's cache, and http://127.0.0.1:9 does not answer"
    assert said in done.stdout
    assert result(tmp_path / "out", "piqa").scores == []
    assert result(tmp_path / "out", "tinyglu_form").items == 4


def test_a_wrong_name_names_the_nearest(prunebench):
    done = prunebench("evaluate", TINYGLU, "--tasks", "helaswag", asks_tasks=True)
    assert done.returncode == 2
    assert done.stderr.startswith("prunebench: lm-eval knows no task helaswag; did you mean hellaswag")


def test_tasks_of_ones_own_are_found_in_a_folder(prunebench, at_a_url, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "items.py").write_text(
        "import datasets\n\ndef load(**_):\n"
        "    rows = [{'question': f'{n} + 1 =', 'answer': n % 2} for n in range(6)]\n"
        "    return {'test': datasets.Dataset.from_list(rows)}\n"
    )
    (folder / "sums.yaml").write_text(
        "task: sums\ncustom_dataset: !function items.load\ntest_split: test\noutput_type: multiple_choice\n"
        'doc_to_text: question\ndoc_to_target: answer\ndoc_to_choice: ["odd", "even"]\nmetric_list:\n  - metric: acc\n'
    )
    done = prunebench(
        "evaluate", *at_a_url, "--tasks", "sums:2", "--include-path", folder, "--output", "out", asks_tasks=True
    )
    assert done.returncode == 0, done.stderr
    own = result(tmp_path / "out", "sums")
    assert (own.items, own.shots, own.scores[0].metric) == (6, 2, "acc")


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("nowhere", {}, "nowhere: no checkpoint there"),
        (TINYGLU, {"tasks": [" "]}, "name a task of lm-eval"),
        ("http://127.0.0.1:9", {}, "http://127.0.0.1:9 does not answer"),
        (TINYGLU, {"tasks": None, "limit": 8}, "--limit: belongs to --tasks"),
        ("http://127.0.0.1:9", {"model": "m"}, "--tokenizer: name the folder"),
        (
            "http://127.0.0.1:9",
            {"model": "m", "tokenizer": str(TINYGLU), "reuse": True},
            "--reuse: needs the checkpoint",
        ),
        ("http://127.0.0.1:9", {"in_process": True}, "--in-process evaluates a checkpoint"),
        (TINYGLU, {"include_path": [Path("nowhere")]}, "--include-path nowhere: no such folder"),
        (TINYGLU, {"in_process": True, "engine_option": ["a=b"]}, "--engine-option: in process there is only dtype"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # lm-eval's imports
def test_what_cannot_be_asked_is_one_line(target, options, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"^{re.escape(said)}"):
        evaluate(str(target), **{"tasks": ["offline"], **options})
    assert not list(tmp_path.iterdir())  # nothing was begun
