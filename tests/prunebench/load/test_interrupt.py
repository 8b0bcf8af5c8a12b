"""Ctrl-C during `prunebench load`: what had ended is written, and it is over within 5 s whatever the server does."""

from __future__ import annotations

import json
import signal
import time

import pytest

from loadgen.results.recorder import read_stream
from loadgen.results.store import read_trial
from tests.loadgen.scripted import END, HEAD, ScriptedServer, chunked, event, stream

LOAD = ["--model", "tiny", "--output", "out", "--warmup-requests", 0, "--output-tokens", 4]
TOKEN_MS = "100"  # of the server under load
SOON_S = 20.0  # 5 are promised, on a machine that does nothing else; one call of the control side may take 30


@pytest.fixture
def load_single(started, tmp_path):
    """Starts a load of single requests on a server."""
    (tmp_path / "p.txt").write_text("hello there\n")
    single = ["--prompts", "p.txt", "--workload", "single", "--requests", 9]
    return lambda server: started("load", server.url, *LOAD, *single)


def once_recorded(process, tmp_path, count):
    """Wait until `count` records are on disk."""
    kept, deadline = tmp_path / "out.records.arrows", time.monotonic() + 30
    while not kept.exists() or len(read_stream(kept)) < count:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def test_what_had_ended_is_a_trial_that_says_it_was_interrupted(started, prunebench, url, tmp_path):
    process = started(
        "load", url, *LOAD, "--prompt-tokens", 8, "--workload", "concurrency", "--concurrency", 4, "--duration", 600
    )
    once_recorded(process, tmp_path, 4)
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=SOON_S)
    assert process.returncode == 130, complained
    assert "load-interrupted: Ctrl-C ended the load" in said
    assert "Traceback" not in complained
    result = read_trial(tmp_path / "out")
    assert result.trial.interrupted
    assert all(record.error is None and record.output_tokens == 4 for record in result.records)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["interrupted"], summary["completed"], summary["failed"]) == (True, len(result.records), 0)
    assert (summary["engine"], summary["simulated"]) == ("synthetic", True)
    assert "(simulated): " in said.partition("\n")[0]
    assert summary["flags"]
    assert not (tmp_path / "out.records.arrows").exists()
    report = prunebench("report", "out")
    assert report.returncode == 0, report.stderr
    assert "load-interrupted" in (tmp_path / "out" / "report.md").read_text()


KINDS = {
    "single": ["--requests", 900],
    "concurrency": ["--concurrency", 4, "--duration", 600],
    "batch": ["--batch-size", 4, "--requests", 900],
    "constant": ["--rate", 9, "--duration", 600],
    "sessions": ["--concurrency", 4, "--duration", 600],
}
TALK = json.dumps({"messages": [{"role": "user", "content": "hello there"}, {"role": "user", "content": "and?"}] * 9})


def slow_answer(_, asked):
    """Four tokens in three tenths of a second, in the form of what was asked."""
    if "prompt" in asked.body:
        return stream(4, token_s=0.1)
    tokens = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in "abcd"]
    tokens.append({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}})
    steps = [HEAD, *(step for each in tokens for step in (0.075, chunked(event(**each))))]
    return [*steps, chunked(b"data: [DONE]\n\n") + END]


@pytest.mark.parametrize("kind", KINDS)
def test_the_requests_in_flight_end_and_none_is_sent_after_them(kind, started, tmp_path):
    prompts = "talk.jsonl" if kind == "sessions" else "p.txt"
    (tmp_path / prompts).write_text(f"{TALK}\n" * 90 if kind == "sessions" else "hello there\n")
    with ScriptedServer(slow_answer, pages={"/v1/models": lambda: MODELS}) as server:
        process = started("load", server.url, *LOAD, "--prompts", prompts, "--workload", kind, *KINDS[kind])
        once_recorded(process, tmp_path, 4)
        process.send_signal(signal.SIGINT)
        _, complained = process.communicate(timeout=SOON_S)
    assert process.returncode == 130, complained
    result = read_trial(tmp_path / "out")
    assert result.trial.interrupted
    assert len(result.records) == len(server.asked)
    assert all(record.error is None and record.output_tokens == 4 for record in result.records)
    assert result.trial.client.cpu_fraction is not None


NEVER_WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"
MODELS = b'{"data": [{"id": "tiny"}]}'


def hanging_server():
    """It answers three requests; from the first on, neither the control side nor later requests get a whole answer."""
    asked = []

    def script(n, _):
        asked.append(n)
        return stream(4) if n < 3 else [600.0]

    def counters():
        now = {"now_ns": time.monotonic_ns(), "meters": [], "missing": []}
        return NEVER_WHOLE if asked else json.dumps(now).encode()

    def metrics():
        return NEVER_WHOLE if asked else b""

    return ScriptedServer(script, pages={"/v1/models": lambda: MODELS, "/energy": counters, "/metrics": metrics})


@pytest.fixture
def held(load_single, tmp_path):
    """A load of which three requests have ended, and which then got Ctrl-C; its server answers nothing any more."""
    with hanging_server() as server:
        process = load_single(server)
        once_recorded(process, tmp_path, 3)
        process.send_signal(signal.SIGINT)
        yield process


def test_a_server_that_answers_nothing_any_more_does_not_hold_it(held, tmp_path):
    _, complained = held.communicate(timeout=SOON_S)
    assert held.returncode == 130, complained
    assert "Traceback" not in complained
    result = read_trial(tmp_path / "out")
    assert (result.trial.interrupted, len(result.records)) == (True, 3)
    assert "interrupted" in result.trial.energy.reason


def test_a_second_ctrl_c_ends_it_where_it_is_and_leaves_the_records(held, tmp_path):
    time.sleep(0.5)
    held.send_signal(signal.SIGINT)
    _, complained = held.communicate(timeout=SOON_S)
    assert held.returncode == 130
    assert "out.records.arrows" in complained
    assert not (tmp_path / "out").exists()


def test_before_anything_has_ended_there_is_nothing_to_write(load_single, tmp_path):
    with ScriptedServer(lambda *_: [600.0], pages={"/v1/models": lambda: MODELS}) as server:
        process = load_single(server)
        while not server.asked:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said, complained = process.communicate(timeout=SOON_S)
    assert (process.returncode, said) == (130, "")
    assert "no request had ended" in complained
    assert not list(tmp_path.glob("out*"))
