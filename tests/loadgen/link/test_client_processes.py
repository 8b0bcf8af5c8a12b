"""The client processes as seen from outside: they share a load exactly, and end whatever becomes of whom."""

from __future__ import annotations

import asyncio
import collections
import os
import select
import signal
import socket
import subprocess
import sys
import time

import pytest

from base.python_process import python_command
from loadgen.client.driver import Driver
from loadgen.endpoint import Endpoint, LoadError
from loadgen.energy.source import NoEnergy
from loadgen.link import forks
from loadgen.prompts.synthetic import SyntheticPrompts
from loadgen.results.recorder import read_stream
from loadgen.trial import run_trial
from tests.loadgen.made import workload
from tests.loadgen.scripted import HEAD, ScriptedServer, chunked, stream, token
from tests.support.captured import captured


def run(script, load, processes):
    with ScriptedServer(script) as server:
        prompts = SyntheticPrompts(range(100, 200), 8, seed=0)
        result = run_trial(Endpoint(server.url, "m"), load, prompts, seed=0, energy=NoEnergy("no"), processes=processes)
        return result, server.asked


def quick(*_):
    return stream(3, first_s=0.02, token_s=0.01)


@pytest.mark.parametrize(
    "load",
    [
        workload("concurrency", concurrency=5, requests=31, warmup_requests=5),
        workload("constant", rate=100.0, requests=31, warmup_requests=2),
    ],
    ids=["closed", "open"],
)
def test_two_processes_send_what_one_would_each_request_once(load):
    (one, asked_by_one), (two, asked_by_two) = (run(quick, load, processes) for processes in (1, 2))
    assert [r.index for r in two.records] == [r.index for r in one.records] == list(range(31))
    assert all(r.error is None and r.output_tokens == 3 for r in two.records)
    assert two.trial.client.processes == 2
    prompts = [collections.Counter(tuple(a.body["prompt"]) for a in asked) for asked in (asked_by_one, asked_by_two)]
    measured = [tuple(SyntheticPrompts(range(100, 200), 8, seed=0)[n]) for n in range(31)]
    for each in prompts:
        assert all(count == 1 for count in each.values())  # warm-up included
        assert set(measured) <= set(each)


def test_two_processes_hold_as_many_requests_as_one_and_start_together():
    load = workload("concurrency", concurrency=5, requests=30, warmup_requests=0)
    result, _ = run(quick, load, processes=2)
    for r in result.records:
        assert sum(o.sent_ns <= r.sent_ns < o.end_ns for o in result.records) <= 5
    scheduled = sorted(r.scheduled_ns for r in result.records)
    assert scheduled[4] < min(r.end_ns for r in result.records)


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (workload("batch"), "a batch load waits for its own answers"),
        (workload("single"), "a single load waits for its own answers"),
        (workload("concurrency", concurrency=2), "at most 2, the number of requests in flight"),
    ],
)
def test_a_load_that_cannot_be_shared_is_refused(load, said):
    with pytest.raises(LoadError, match=f"--processes 3: .*{said}"):
        run(quick, load, processes=3)


_LOAD = """
import sys
from pathlib import Path
from loadgen.trial import run_trial
from loadgen.endpoint import Endpoint
from loadgen.energy.source import NoEnergy
from loadgen.prompts.synthetic import SyntheticPrompts
from loadgen.workloads.closed_loop import ConcurrencyLoad
load = ConcurrencyLoad(name="w", requests=10000, concurrency=4, warmup_requests=0)
prompts = SyntheticPrompts(range(9), 4, 0)
run_trial(Endpoint(sys.argv[1], "m"), load, prompts, seed=0, energy=NoEnergy(""), keep=Path(sys.argv[2]), processes=2)
"""


def children_of(process_id):
    said = captured(["ps", "-o", "pid=", "--ppid", str(process_id)])
    return [int(word) for word in said.stdout.split()]


def loaded(server, file):
    """A load under way that has recorded something."""
    process = subprocess.Popen([sys.executable, "-c", _LOAD, server.url, str(file)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (file.exists() and len(read_stream(file)) > 20):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def clients_of(process_id):
    """The processes that send, which are forks of the one that it started."""
    (first,) = children_of(process_id)
    return children_of(first)


def gone(process_ids):
    deadline = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{each}") for each in process_ids):  # noqa: PTH110 - no path of ours
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_of_a_killed_load_all_is_left_but_its_last_second_and_no_client_lives_on(tmp_path):
    file = tmp_path / "records.arrows"
    with ScriptedServer(quick) as server:
        process = loaded(server, file)
        clients = clients_of(process.pid)
        assert len(clients) == 2
        clients += children_of(process.pid)
        answered = len(server.asked) - 4  # all but those in flight have been answered by now
        killed_ns = time.monotonic_ns()
        process.kill()
        process.communicate()
        gone(clients)
    records = read_stream(file)
    assert all(r.error is None and r.output_tokens == 3 for r in records)
    newest = max(r.end_ns for r in records)
    assert killed_ns - newest < 5e9  # a second on a machine that is not busy
    assert len(records) <= answered + 4
    assert len({r.index for r in records}) == len(records)


def test_a_client_that_is_killed_ends_the_trial_with_its_reason(tmp_path):
    with ScriptedServer(quick) as server:
        process = loaded(server, tmp_path / "records.arrows")
        os.kill(clients_of(process.pid)[0], signal.SIGKILL)
        _, said = process.communicate(timeout=30)
    assert "LoadError: a client process was killed by signal 9" in said
    assert len(read_stream(tmp_path / "records.arrows")) > 20


def test_clients_are_forks_of_one_process_that_is_started_again_if_it_was_killed():
    load = workload("single", requests=2, warmup_requests=0)
    run(quick, load, processes=1)
    first = forks._forks
    run(quick, load, processes=1)
    assert forks._forks is first
    os.kill(first._process.pid, signal.SIGKILL)
    result, _ = run(quick, load, processes=1)
    assert all(record.error is None for record in result.records)
    assert forks._forks is not first


@pytest.mark.parametrize("answered", [True, False], ids=["with-an-answer-unread", "before-it-answers"])
def test_the_process_that_forks_ends_in_silence_when_nobody_asks_any_more(answered):
    ours, theirs = socket.socketpair()
    link, its_end = socket.socketpair()
    command = python_command("-m", "loadgen.client.process", str(theirs.fileno()))
    with subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, text=True) as process:
        theirs.close()
        with ours, link, its_end:
            socket.send_fds(ours, [b"fork"], [its_end.fileno()])
            if answered:
                select.select([ours], [], [])
        assert process.communicate(timeout=60) == (None, "")
    assert process.returncode == 0


def test_a_process_that_was_forked_starts_its_own(monkeypatch):
    load = workload("single", requests=1, warmup_requests=0)
    run(quick, load, processes=1)
    first = forks._forks
    monkeypatch.setattr(first, "owner", 1)
    run(quick, load, processes=1)
    assert forks._forks is not first


def test_the_file_kept_stays_until_its_trial_is_written_and_has_every_record(tmp_path):
    with ScriptedServer(quick) as server:
        prompts, load = SyntheticPrompts(range(9), 4, 0), workload("single", requests=2)
        result = run_trial(
            Endpoint(server.url, "m"), load, prompts, seed=0, energy=NoEnergy(""), keep=tmp_path / "kept"
        )
    assert len(read_stream(tmp_path / "kept")) == len(result.records) == 2


def test_a_long_answer_is_reported_while_it_arrives():
    from loadgen.trial import Watcher

    class Noting(Watcher):
        def __init__(self):
            self.counts, self.ended = [], False

        def tokens(self, at_ns, count):
            if not self.ended:
                self.counts.append(count)

        def finished(self, record):
            self.ended = True

    def script(*_):
        return [HEAD, *[s for n in range(1, 30) for s in (chunked(token(usage=n)), 0.05)], *stream(0)[1:]]

    noted = Noting()
    with ScriptedServer(script) as server:
        prompts, load = SyntheticPrompts(range(9), 4, 0), workload("single", requests=1, warmup_requests=0)
        run_trial(Endpoint(server.url, "m"), load, prompts, seed=0, energy=NoEnergy(""), watcher=noted)
    assert sum(noted.counts) == 29
    assert len([count for count in noted.counts if count]) >= 2


async def test_between_many_requests_that_end_together_what_has_come_is_read():
    driver = Driver(None, None, None)
    loop, rounds, done = asyncio.get_running_loop(), 0, collections.Counter()

    def next_round():
        nonlocal rounds
        rounds += 1
        loop.call_soon(next_round)

    async def end():
        await driver.turn()
        done[rounds] += 1

    loop.call_soon(next_round)
    await asyncio.gather(*(end() for _ in range(200)))
    assert sum(done.values()) == 200
    assert max(done.values()) <= 2 * 16  # of a loop that reads in between
    assert len(done) >= 200 // 32
