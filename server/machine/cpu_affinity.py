"""Giving way to an engine in processes of its own; it matters where there are fewer cores than busy processes.

vLLM binds its workers on a CPU to cores and leaves at least one to everything else, but nothing keeps everything else off
the workers' cores. Its scheduler polls the workers and gives up its time slice between two looks: beside an HTTP side of the same
priority it waits for all answers of a step to be written before it begins the next.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

_NICENESS = 10


def give_way_to(process_ids: Iterable[int]) -> None:
    """Be nicer than the processes, and leave cores to those that are bound to some.

    Linux keeps both for each thread: they hold for the caller and the threads it begins from now on.
    """
    os.sched_setaffinity(0, _cores_left_by(process_ids))
    os.setpriority(os.PRIO_PROCESS, 0, min(19, os.getpriority(os.PRIO_PROCESS, 0) + _NICENESS))


@contextmanager
def off_cores_of(process_ids: Iterable[int]) -> Iterator[None]:
    """Leave cores to those of the processes that are bound to some, for a while: this thread and what it begins meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _cores_left_by(process_ids))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _cores_left_by(process_ids: Iterable[int]) -> set[int]:
    """Those cores of the thread that no process is bound to; all of them where that leaves none."""
    allowed = os.sched_getaffinity(0)
    bound: set[int] = set()
    for process_id in process_ids:
        with suppress(ProcessLookupError):
            cores = os.sched_getaffinity(process_id)
            bound |= cores if cores < allowed else set()
    return allowed - bound or allowed
