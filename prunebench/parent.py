"""A server that a runner started ends when the runner dies, however it dies: kill -9 leaves nothing behind."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time

PARENT_VARIABLE = "PRUNEBENCH_PARENT_PID"
_PR_SET_PDEATHSIG = 1  # prctl(2)
_LOOK_S, _GRACE_S = 1.0, 20.0


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM on the death of the runner named in the environment, if one is.

    A hung engine would not end on that: after a while the whole process group, which the runner gave us for our own, is killed.
    """
    parent = os.environ.pop(PARENT_VARIABLE, None)
    if parent is None:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it died before we asked
        raise SystemExit(1)
    threading.Thread(target=_insist, args=(int(parent),), daemon=True).start()


def _insist(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    time.sleep(_GRACE_S)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
