"""Start the client processes of a trial, receive their messages, and always end them."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from base.python_process import python_command
from loadgen.endpoint import LoadError
from loadgen.link.frames import Inbox, frame
from loadgen.link.interrupt import Interrupt
from loadgen.link.messages import Finished, Job, Ready

_TICK_S = 0.1
_END_S = 5.0


class Clients:
    """Use as a context manager: leaving it ends the processes that still run.

    They are separate programs rather than forks, since the process that starts them may have threads and sockets; and
    in process groups of their own, so that Ctrl-C reaches this process alone, which then ends them. Not in sessions: the
    kernel shares processors between sessions first, and a client would be kept waiting.
    """

    def __init__(self, jobs: list[Job]) -> None:
        self._jobs = jobs
        self._processes: list[subprocess.Popen[bytes]] = []
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        try:
            for job in self._jobs:
                ours, theirs = socket.socketpair()
                with theirs:
                    command = python_command("-m", "loadgen.client.process", str(theirs.fileno()))
                    self._processes.append(
                        subprocess.Popen(
                            command,
                            env=environment,
                            pass_fds=[theirs.fileno()],
                            stdin=subprocess.DEVNULL,
                            process_group=0,
                        )
                    )
                self._selector.register(ours, selectors.EVENT_READ, (Inbox(ours), self._processes[-1]))
                ours.sendall(frame(job))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def ready(self) -> list[Ready]:
        """Wait for every warm-up."""
        found: list[Ready] = []
        while len(found) < len(self._jobs):
            found += self._receive(_TICK_S)
        return found

    def start(self, start_ns: int) -> None:
        """Start the load of all at `start_ns` of the monotonic clock."""
        for key in self._selector.get_map().values():
            key.fileobj.sendall(frame(start_ns))  # type: ignore[union-attr]  # sockets, all of them

    def messages(self, *ticks: Callable[[], None], interrupt: Interrupt) -> Iterator[Any]:
        """Their messages until all have finished, or until Ctrl-C; calls `ticks` at least ten times a second."""
        running = len(self._jobs)
        while running and not interrupt.came:
            for message in self._receive(_TICK_S):
                running -= isinstance(message, Finished)
                yield message
            for tick in ticks:
                tick()

    def _receive(self, timeout_s: float) -> list[Any]:
        found: list[Any] = []
        for key, _ in self._selector.select(timeout_s):
            inbox, process = key.data
            messages = inbox.receive()
            if messages is None:
                self._selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]  # a socket
                _check_end(process)
            else:
                found += messages
        return found

    def _end(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # their sockets end, and with them they do
        self._selector.close()
        for process in self._processes:
            process.kill()
            process.wait()


def _check_end(process: subprocess.Popen[bytes]) -> None:
    """Handle a closed link. Raises LoadError unless its process ended with status 0."""
    with contextlib.suppress(
        subprocess.TimeoutExpired
    ):  # a killed one has ended by now; one that is still ending does so with status 0
        process.wait(_END_S)
    if status := process.returncode:
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        raise LoadError(f"a client process {how}; the trial is void")
