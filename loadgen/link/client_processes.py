"""Start the client processes of a trial, receive their messages, and always end them."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from loadgen.endpoint import LoadError
from loadgen.link.forks import Forks, start_client
from loadgen.link.frames import Inbox, frame
from loadgen.link.interrupt import Interrupt
from loadgen.link.messages import Finished, Job, Ready

_TICK_S = 0.1
_END_S = 5.0


class Clients:
    """Use as a context manager: leaving it ends the processes that still run."""

    def __init__(self, jobs: list[Job]) -> None:
        self._jobs = jobs
        self._processes: dict[int, Forks] = {}  # those whose status is not known
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        try:
            for job in self._jobs:
                ours, theirs = socket.socketpair()
                with theirs:
                    forks, process_id = start_client(theirs)
                self._processes[process_id] = forks
                self._selector.register(ours, selectors.EVENT_READ, (Inbox(ours), process_id))
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
            inbox, process_id = key.data
            messages = inbox.receive()
            if messages is None:
                self._selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]  # a socket
                self._check_end(process_id)
            else:
                found += messages
        return found

    def _end(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # their sockets end, and with them they do
        self._selector.close()
        for process_id, forks in self._processes.items():
            forks.end(process_id)
        self._processes.clear()

    def _check_end(self, process_id: int) -> None:
        """Handle a closed link. Raises LoadError unless its process ended with status 0."""
        status = self._processes[process_id].status(process_id, _END_S)
        if status is None:  # a killed one has ended by now; one that is still ending does so with status 0
            return
        del self._processes[process_id]
        if status:
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            raise LoadError(f"a client process {how}; the trial is void")
