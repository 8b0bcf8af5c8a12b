"""What gives way: the calling thread, to bound processes by leaving their cores, to all by its niceness."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from server.machine.cpu_affinity import off_cores_of, yield_cores_to

needs_two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")


@pytest.fixture
def other() -> Iterator[int]:
    """A process of no use."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        yield process.pid
    finally:
        process.communicate(b"\n")


def after_giving_way_to(*processes: int) -> tuple[set[int], int]:
    """(cores, niceness) of a thread that has."""
    found: list[tuple[set[int], int]] = []

    def give_way():
        yield_cores_to(processes)
        found.append((os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)))

    thread = threading.Thread(target=give_way)
    thread.start()
    thread.join()
    return found[0]


@needs_two_cores
def test_the_cores_of_a_bound_process_are_left_to_it(other):
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(other, {min(allowed)})
    cores, _ = after_giving_way_to(other)
    assert cores == allowed - {min(allowed)}


def test_a_process_that_is_bound_to_none_takes_none(other):
    cores, _ = after_giving_way_to(other)
    assert cores == os.sched_getaffinity(0)


@needs_two_cores
def test_where_every_core_is_taken_all_are_shared(other):
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(other, {min(allowed)})
    second = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    os.sched_setaffinity(second.pid, allowed - {min(allowed)})
    try:
        cores, _ = after_giving_way_to(other, second.pid)
    finally:
        second.communicate(b"\n")
    assert cores == allowed


@needs_two_cores
def test_a_client_keeps_off_them_for_a_while_and_so_does_what_it_starts(other):
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(other, {min(allowed)})
    with off_cores_of([other]):
        assert os.sched_getaffinity(0) == allowed - {min(allowed)}
        asked = "import os; print(len(os.sched_getaffinity(0)))"
        child = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
        assert int(child.stdout) == len(allowed) - 1
    assert os.sched_getaffinity(0) == allowed


def test_it_is_nicer_than_before_and_the_rest_of_the_process_as_it_was(other):
    before = os.getpriority(os.PRIO_PROCESS, 0)
    _, niceness = after_giving_way_to(other)
    assert niceness == min(19, before + 10)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_a_process_that_has_ended_is_no_matter():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    cores, _ = after_giving_way_to(process.pid)
    assert cores == os.sched_getaffinity(0)
