"""A server that a runner started ends when the runner dies, however it dies: kill -9 leaves nothing behind.

The runner holds the writing end of a pipe and never writes; the server blocks on the reading end, which closes with the
runner. The kernel's own signal on a parent's death (PR_SET_PDEATHSIG) follows the *thread* that started the child, and a
runner's threads may end before it does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

PARENT_VARIABLE = "PRUNEBENCH_PARENT_PIPE"
_GRACE_S = 20.0


def end_with_parent() -> None:
    """End this process when the pipe named in the environment closes, if one is named.

    A hung engine would not end on SIGTERM: after a grace period the whole process group, which the runner made for this
    process, is killed.
    """
    pipe = os.environ.pop(PARENT_VARIABLE, None)
    if pipe is not None:
        os.set_inheritable(int(pipe), False)  # the engine's processes must not inherit it
        threading.Thread(target=_watch, args=(int(pipe),), daemon=True).start()


def _watch(pipe: int) -> None:
    with contextlib.suppress(OSError):
        os.read(pipe, 1)  # returns when the last writing end is closed
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
