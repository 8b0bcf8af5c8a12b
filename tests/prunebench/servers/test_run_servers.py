"""The servers that a run has up: started side by side where they may be, and ended together."""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from prunebench.servers.command_line import CommandLine
from prunebench.servers.process import RunningServer, ServerStartError, launch_server
from prunebench.servers.run_servers import ServerPool
from tests.prunebench.servers.test_command_line import FOREIGN


def never(label: str, _progress: object) -> RunningServer:
    raise AssertionError(f"{label} was started alone")


@pytest.fixture
def launches(tmp_path: Path) -> dict[str, Callable[[], RunningServer]]:
    """Three servers, of which the second has no model."""
    (tmp_path / "foreign.py").write_text(FOREIGN)
    good = f"{sys.executable} {tmp_path / 'foreign.py'} {{port}}"
    bad = f"{sys.executable} -c \"import sys; print('no such model'); sys.exit(3)\" {{port}}"
    return {
        label: partial(
            launch_server, CommandLine(words, None, None, "/ready"), tmp_path / f"{label}.log", request_timeout_s=10
        )
        for label, words in (("a", good), ("b", bad), ("c", good))
    }


@pytest.fixture
def pool() -> Iterator[ServerPool]:
    servers = ServerPool(never, keep=True)
    yield servers
    servers.close()


def test_those_that_start_side_by_side_are_up_and_one_that_fails_says_so_when_it_is_its_turn(pool, launches):
    seen = []
    pool.start_together(launches, 60, lambda done, total, _: seen.append((done, total)))
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    servers = [pool.acquire(label) for label in "ac"]
    assert [server.endpoint.model for server in servers] == ["theirs"] * 2
    assert all(server.load_s > 0 for server in servers)
    with pytest.raises(ServerStartError, match="status 3: no such model"):
        pool.acquire("b")
    with pytest.raises(AssertionError, match="b was started alone"):  # it is tried again
        pool.acquire("b")


def test_all_are_ended_together(pool, launches):
    pool.start_together({label: launches[label] for label in "ac"}, 60)
    processes = [psutil.Process(pool.acquire(label).process.pid) for label in "ac"]
    assert pool.was_started_together("a") == (psutil.cpu_count() > 1)
    pool.close()
    assert not any(process.is_running() for process in processes)
    assert not pool.any_running()


def test_an_interrupt_ends_those_that_still_start(pool, launches, tmp_path):
    def interrupted(done: int, _total: int, _what: str) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pool.start_together(launches, 60, interrupted)
    pool.close()
    script = str(tmp_path / "foreign.py")
    assert not [p for p in psutil.process_iter(["cmdline"]) if script in (p.info["cmdline"] or [])]
