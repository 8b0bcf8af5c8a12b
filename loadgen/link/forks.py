"""Client processes as forks of one process that has imported what they need: a second of CPU time less for each.

They are not forks of this process, which may have threads and sockets; nor `multiprocessing`'s, which runs the user's script again.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from base.python_process import python_command

NUMBER = 4  # bytes of a process id or status on the control socket
RUNNING = -(2**31)  # in place of a status
_PAUSE_S = 0.005


class Forks:
    """Starts client processes; thread-safe.

    All are in a process group of their own, so that Ctrl-C reaches this process alone, which then ends them. Not in a session: the
    kernel shares processors between sessions first, and a client would be kept waiting.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()  # a fork of this process has to have its own
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        with theirs:
            command = python_command("-m", "loadgen.client.process", str(theirs.fileno()))
            self._process = subprocess.Popen(
                command, env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, process_group=0
            )

    def start(self, link: socket.socket) -> int:
        """The id of a new process that serves `link`, on the cores of this thread. Raises OSError if the first process has ended."""
        process_id = self._ask(b"fork", [link.fileno()])
        os.sched_setaffinity(process_id, os.sched_getaffinity(0))
        return process_id

    def status(self, process_id: int, wait_s: float) -> int | None:
        """How a process has ended, negative: by that signal; to be asked until it is known. None: it has not by then, or nobody knows."""
        deadline = time.monotonic() + wait_s
        while True:
            with contextlib.suppress(OSError):
                if (status := self._ask(process_id.to_bytes(NUMBER))) != RUNNING:
                    return status
            if time.monotonic() > deadline or self._process.poll() is not None:
                return None
            time.sleep(_PAUSE_S)

    def end(self, process_id: int) -> None:
        """Kill a process whose status is not known yet."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)
        self.status(process_id, 1.0)

    def close(self) -> None:
        """End the first process: it ends with its socket."""
        self._control.close()
        self._process.wait()

    def _ask(self, question: bytes, files: Sequence[int] = ()) -> int:
        """Raises OSError if nobody answers, from then on: after an interrupt too, whose answer would be taken for the next one's."""
        with self._lock:
            try:
                socket.send_fds(self._control, [question], files)
                answer = self._control.recv(NUMBER, socket.MSG_WAITALL)
            except BaseException:
                self._control.close()
                raise
        if len(answer) < NUMBER:
            raise ConnectionError
        return int.from_bytes(answer, signed=True)


_forks: Forks | None = None


def start_client(link: socket.socket) -> tuple[Forks, int]:
    """Start a process that serves `link`. The process that forks it is started by the first call, and again if it was killed."""
    global _forks  # noqa: PLW0603 - one for all trials of this process
    with contextlib.suppress(OSError):
        if _forks is not None and _forks.owner == os.getpid():
            return _forks, _forks.start(link)
    _forks = Forks()
    atexit.register(_forks.close)
    return _forks, _forks.start(link)
