"""A Locust master and two workers as processes against a real server: nothing is lost, nothing is counted twice."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import time

import httpx
import psutil
import pytest

from loadgen.results.recorder import read_stream
from loadgen.results.store import read_trial
from tests.loadgen.scripted import ScriptedServer, stream

pytestmark = pytest.mark.slow


def load(prunebench, url, tmp_path, *words):
    done = prunebench("load", url, "--model", "tiny", "--output", "out", "--driver", "locust", "--json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), read_trial(tmp_path / "out")


def test_two_workers_record_every_request_and_token_once_and_agree_with_the_server(prunebench, url, tmp_path):
    words = ["--workers", 2, "--workload", "concurrency", "--concurrency", 4, "--requests", 31]
    summary, result = load(prunebench, url, tmp_path, *words, "--output-tokens", "uniform:3-12", "--prompt-tokens", 16)
    records = list(result.records)
    assert [r.index for r in records] == list(range(31))
    assert [r.error for r in records] == [None] * 31
    assert [r.output_tokens for r in records] == [r.asked_tokens for r in records]
    assert {r.prompt_tokens for r in records} == {16}
    total = sum(r.output_tokens for r in records)
    assert (summary["completed"], summary["total_output_tokens"]) == (31, total)
    assert result.trial.server_generated_tokens == total
    # Each worker's two users are never both idle and never more than two, so that four are in flight at the most.
    assert summary["max_concurrent_requests"] <= 4
    assert result.trial.client.processes == 2
    assert result.trial.client.kernel_stamped == 1.0
    assert min(summary["mean_ttft_ms"], summary["median_ttft_ms"]) >= 19


def test_an_open_loop_over_two_workers_leaves_by_the_one_schedule(prunebench, url, tmp_path):
    words = ["--workers", 2, "--workload", "constant", "--rate", 20, "--requests", 20, "--output-tokens", 4]
    _, result = load(prunebench, url, tmp_path, *words)
    records = list(result.records)
    assert [r.index for r in records] == list(range(20))
    first = records[0].scheduled_ns
    assert [round((r.scheduled_ns - first) / 1e6) for r in records] == [50 * n for n in range(20)]
    assert all(r.sent_ns >= r.scheduled_ns for r in records)
    assert result.trial.client.schedule_lag_p99_ms is not None


def test_the_page_is_there_while_the_load_runs_and_ends_with_it(started, url):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["load", url, "--model", "tiny", "--output", "out", "--driver", "locust", "--web-port", port]
    process = started(*words, "--workload", "constant", "--rate", 10, "--requests", 40, "--output-tokens", 4)
    deadline, status = time.monotonic() + 60, None
    while status is None:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        with contextlib.suppress(httpx.TransportError):
            status = httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code
        time.sleep(0.1)
    assert status == 200
    assert process.wait(60) == 0


def test_sessions_are_held_turn_by_turn_with_what_was_answered(prunebench, url, tmp_path):
    words = ["--workers", 2, "--workload", "sessions", "--concurrency", 2, "--requests", 8, "--turns", 2]
    summary, result = load(prunebench, url, tmp_path, *words, "--prompt-as", "words", "--output-tokens", 6)
    sessions = [[r for r in result.records if r.group == number] for number in range(4)]
    for number, (first, second) in enumerate(sessions):
        assert [(r.index, r.turn, r.error) for r in (first, second)] == [(2 * number + n, n, None) for n in (0, 1)]
        assert first.end_ns <= second.scheduled_ns <= second.sent_ns
        assert second.prompt_tokens > 2 * first.prompt_tokens - 10  # all of the first, its answer, and as many words
    assert [turn["requests"] for turn in summary["turns"]] == [4, 4]


def test_batches_are_one_workers(prunebench, url, tmp_path):
    _, result = load(
        prunebench, url, tmp_path, "--workload", "batch", "--batch-size", 3, "--requests", 7, "--output-tokens", 4
    )
    groups = [r.group for r in result.records]
    assert groups == [0, 0, 0, 1, 1, 1, 2]
    ends = [max(r.end_ns for r in result.records if r.group == group) for group in (0, 1)]
    assert all(r.sent_ns >= ends[r.group - 1] for r in result.records if r.group)


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_an_end_of_any_kind_leaves_no_process_behind(started, url, sent, status):
    words = ["load", url, "--model", "tiny", "--output", "out", "--driver", "locust", "--workers", 2]
    process = started(*words, "--workload", "concurrency", "--concurrency", 2, "--duration", 60)
    deadline = time.monotonic() + 60
    while len(psutil.Process(process.pid).children(recursive=True)) < 3:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    children = psutil.Process(process.pid).children(recursive=True)
    time.sleep(1)
    process.send_signal(sent)
    assert process.wait(60) == status
    gone, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    assert gone


def test_ctrl_c_leaves_a_trial_of_what_had_ended(started, url, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    words = ["load", url, "--model", "tiny", "--output", "out", "--driver", "locust", "--output-tokens", 4]
    process = started(*words, "--workload", "concurrency", "--concurrency", 2, "--duration", 600)
    deadline = time.monotonic() + 60
    while not any(map(len, map(read_stream, tmp_path.glob("*/records.arrow")))):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=30)
    assert process.returncode == 130, complained
    assert "load-interrupted: Ctrl-C ended the load" in said
    result = read_trial(tmp_path / "out")
    assert result.trial.interrupted
    assert len(result.records) > 0
    assert all(record.error is None for record in result.records)


def test_a_worker_started_by_hand_has_its_share_beside_a_local_one(started, url, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["load", url, "--model", "tiny", "--output", "out", "--driver", "locust", "--workers", 2]
    master = started(
        *words, "--remote-workers", 1, "--master-port", port, "--requests", 10, "--workload", "constant", "--rate", 20
    )
    worker = started("load-worker", f"127.0.0.1:{port}")
    assert (master.wait(60), worker.wait(20)) == (0, 0)
    result = read_trial(tmp_path / "out")
    assert [(r.index, r.error) for r in result.records] == [(index, None) for index in range(10)]
    assert result.trial.client.processes == 2


MODELS = {"/v1/models": lambda: b'{"object": "list", "data": [{"id": "m"}]}'}
SHORT = ["--requests", 8, "--workload", "constant", "--rate", 20, "--output-tokens", 2, "--prompt-as", "words"]
HEADERS = ["--header", "X-Team: search", "--header", "api-key: secret"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_headers_and_body_are_those_of_every_request_also_of_a_worker_started_by_hand(started, tmp_path):
    port = free_port()
    remote = ["--workers", 2, "--remote-workers", 1, "--master-port", port]
    with ScriptedServer(lambda *_: stream(2), pages=MODELS) as server:
        words = ["load", server.url, "--output", "out", "--driver", "locust", *remote, *SHORT, *HEADERS]
        master = started(*words, "--body", '{"top_k": 3, "temperature": 0.5}', "--fail-on", "none")
        worker = started("load-worker", f"127.0.0.1:{port}", *HEADERS)
        assert (master.wait(60), worker.wait(20)) == (0, 0), master.communicate()
    sent = server.asked
    assert len(sent) == 8 + 2  # and the warm-up
    assert all("\r\nX-Team: search\r\napi-key: secret\r\n" in one.head for one in sent)
    assert {(one.body["top_k"], one.body["temperature"]) for one in sent} == {(3, 0.5)}
    trial = read_trial(tmp_path / "out").trial
    assert trial.headers == ["X-Team", "api-key"]
    assert "top_k" in trial.form.keys
    assert "secret" not in trial.model_dump_json()


@pytest.mark.parametrize(
    ("own", "said"),
    [([], "has no --header api-key"), ([*HEADERS, "--header", "x-other: 1"], "has another --header x-other")],
)
def test_a_worker_with_other_headers_ends_the_load_with_one_line(started, own, said):
    port = free_port()
    with ScriptedServer(lambda *_: stream(2), pages=MODELS) as server:
        words = ["load", server.url, "--output", "out", "--driver", "locust", "--remote-workers", 1, *SHORT, *HEADERS]
        master = started(*words, "--master-port", port)
        started("load-worker", f"127.0.0.1:{port}", *own)
        _, complained = master.communicate(timeout=60)
    assert master.returncode == 2
    assert complained.splitlines()[-1] == (
        f"prunebench: --driver locust: a worker {said}: give load-worker those of the load"
    )


def test_a_mix_through_locust_has_its_parts_own_prompts(prunebench, url, tmp_path):
    lines = [{"body": {"messages": [{"role": "user", "content": f"line {n}"}], "max_tokens": 3}} for n in range(20)]
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    parts = [{"name": "line", "prompts": "lines.jsonl"}, {"name": "made", "prompt_tokens": 9, "output_tokens": 5}]
    words = ["--workers", 2, "--rate", 30, "--requests", 16, "--parts", json.dumps(parts)]
    summary, result = load(prunebench, url, tmp_path, *words)
    numbers = [result.trial.workload.part_number(0, r.index) for r in result.records]
    assert [(r.error, r.output_tokens, r.asked_tokens) for r in result.records] == [
        (None, (3, 5)[n], (3, 5)[n]) for n in numbers
    ]
    assert [part["requests"] for part in summary["parts"]] == [numbers.count(0), numbers.count(1)]


def test_parts_with_arrivals_of_their_own_are_the_native_drivers(prunebench, url):
    parts = '[{"name": "a", "kind": "constant", "rate": 2}, {"name": "b", "kind": "concurrency", "concurrency": 2}]'
    done = prunebench("load", url, "--model", "tiny", "--output", "out", "--driver", "locust", "--parts", parts)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "prunebench: --parts with arrivals of their own: only for the native driver; leave out --driver locust"
    )


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["--remote-workers", "no.such.host"], "--remote-workers no.such.host: neither a number nor a host's name"),
        (["--remote-workers", "0"], "--remote-workers 0: leave it out"),
        (["--workers", 1, "--remote-workers", 2], "--remote-workers 2: more than --workers 1"),
    ],
)
def test_remote_workers_that_cannot_be_are_named(prunebench, url, words, printed):
    done = prunebench("load", url, "--model", "tiny", "--output", "out", "--driver", "locust", *words)
    assert done.returncode == 2
    assert printed in done.stderr


def test_a_masters_address_without_a_port_is_named(prunebench):
    done = prunebench("load-worker", "loadgen-master")
    assert (done.returncode, done.stderr.strip()) == (2, "prunebench: MASTER loadgen-master: must be like loadgen:5557")


def test_options_of_locusts_are_refused_without_it(prunebench, url):
    done = prunebench("load", url, "--model", "tiny", "--output", "out", "--workers", 2)
    assert (done.returncode, done.stderr.strip()) == (2, "prunebench: --workers 2: is for --driver locust")
