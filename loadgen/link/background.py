"""Reading answers in a thread that steps back where the process that measures needs the same core.

A chunk must leave its socket before the next comes, or both have one stamp; what it says may be read later. A thread's priority
can be lowered by anyone and raised by few (man 2 setpriority), so the thread lives no longer than the load.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_NICER = 10  # a tenth of a core that is wanted by both
_Found = TypeVar("_Found")


def in_background(work: Callable[[], _Found], stop: Callable[[], None]) -> _Found:
    """Do `work` with lower priority and return what it does; an exception here, such as KeyboardInterrupt, calls `stop` first."""
    with ThreadPoolExecutor(1, thread_name_prefix="reading", initializer=_step_back) as thread:
        try:
            return thread.submit(work).result()
        except BaseException:
            stop()
            raise


def _step_back() -> None:
    if sys.platform == "linux":  # elsewhere it is the priority of the whole process
        with contextlib.suppress(OSError):
            this = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, this, os.getpriority(os.PRIO_PROCESS, this) + _NICER)
