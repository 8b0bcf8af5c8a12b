"""Processes that have their imports already: forked from one that has done nothing else, since importing is most of a start."""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

_FORK = multiprocessing.get_context("fork")


class Forks:
    """Starts processes. The first one, which forks them, begins with `prepare` and ends with `close` or this process."""

    def __init__(self, prepare: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._link, theirs = multiprocessing.Pipe()
        self._first = multiprocessing.get_context("spawn").Process(target=_fork_on_demand, args=(theirs, prepare))
        self._first.start()
        theirs.close()
        atexit.register(self.close)

    def start(self, function: Callable[..., object], *arguments: object) -> Forked:
        """Run a function in a process of its own."""
        return Forked(self, self.ask((function, arguments)))

    def ask(self, question: object) -> int | None:
        """The answer of the first process."""
        with self._lock:
            self._link.send(question)
            return self._link.recv()

    def close(self) -> None:
        self._link.close()
        self._first.join()


class Forked:
    """A process as subprocess.Popen has one."""

    def __init__(self, forks: Forks, pid: int) -> None:
        self.pid, self.returncode = pid, None
        self._forks = forks

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._forks.ask(self.pid)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.02)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def end(self) -> None:
        """Ask it to end, and kill it after a while."""
        self.send_signal(signal.SIGTERM)
        try:
            self.wait(60)
        finally:
            self.send_signal(signal.SIGKILL)


def _fork_on_demand(asked: Connection, prepare: Callable[[], None]) -> None:
    prepare()
    gc.freeze()  # a search of what was imported would copy all its memory
    started = {}
    while True:
        try:
            request = asked.recv()
        except EOFError:
            return
        if isinstance(request, int):
            asked.send(started[request].exitcode)
        else:
            process = _FORK.Process(target=request[0], args=request[1])
            process.start()
            started[process.pid] = process
            asked.send(process.pid)
