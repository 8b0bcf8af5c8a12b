"""Lower the HTTP side's priority below that of the engine's processes; it matters with fewer cores than busy processes.

vLLM binds its workers on a CPU to cores and leaves at least one to other processes, but nothing keeps other processes off
the workers' cores. Its scheduler polls the workers and yields its time slice between two polls: beside an HTTP side of the same
priority it waits until all answers of a step are written before it begins the next step.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

_NICENESS = 10


def yield_cores_to(process_ids: Iterable[int]) -> None:
    """Raise our niceness above the engine's processes, and leave the cores to which they are pinned.

    Linux keeps both per thread: they hold for the caller and for threads that it starts afterwards.
    """
    os.sched_setaffinity(0, _cores_left_by(process_ids))
    os.setpriority(os.PRIO_PROCESS, 0, min(19, os.getpriority(os.PRIO_PROCESS, 0) + _NICENESS))


@contextmanager
def off_cores_of(process_ids: Iterable[int]) -> Iterator[None]:
    """Keep this thread, and what it starts meanwhile, off the cores to which the processes are pinned."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _cores_left_by(process_ids))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _cores_left_by(process_ids: Iterable[int]) -> set[int]:
    """The cores of this thread to which no process is pinned; all of them where that leaves none."""
    allowed = os.sched_getaffinity(0)
    bound: set[int] = set()
    for process_id in process_ids:
        with suppress(ProcessLookupError):
            cores = os.sched_getaffinity(process_id)
            bound |= cores if cores < allowed else set()
    return allowed - bound or allowed
