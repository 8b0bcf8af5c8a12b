"""A server that a runner started ends when the runner dies, however it dies: kill -9 leaves nothing behind."""

from __future__ import annotations

import ctypes
import os
import signal

PARENT_VARIABLE = "PRUNEBENCH_PARENT_PID"
_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM on the death of the runner named in the environment, if one is."""
    parent = os.environ.pop(PARENT_VARIABLE, None)
    if parent is None:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it died before we asked
        raise SystemExit(1)
