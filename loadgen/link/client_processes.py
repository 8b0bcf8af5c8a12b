"""Start the client processes of a trial, receive their messages, and always end them."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from loadgen.endpoint import LoadError
from loadgen.link.forks import Forks, start_client
from loadgen.link.frames import Inbox, Replies, frame
from loadgen.link.interrupt import IN_FLIGHT_S, Interrupt
from loadgen.link.messages import Finished, Job, Ready, Stop

_TICK_S = 0.1
_END_S = 5.0


class _Link:
    """Our end of the socket to a client process."""

    def __init__(self, ours: socket.socket, process_id: int) -> None:
        self.ours, self.process_id = ours, process_id
        self.inbox, self.replies = Inbox(ours), Replies(ours)


class Clients:
    """Use as a context manager: leaving it ends the processes that still run."""

    def __init__(self, jobs: list[Job]) -> None:
        self._jobs = jobs
        self._processes: dict[int, Forks] = {}  # those whose status is not known
        self._links: list[_Link] = []  # by lane
        self._selector = selectors.DefaultSelector()
        self._stopped = False

    def __enter__(self) -> Self:
        try:
            for job in self._jobs:
                ours, theirs = socket.socketpair()
                with theirs:
                    forks, process_id = start_client(theirs)
                self._processes[process_id] = forks
                self._links.append(_Link(ours, process_id))
                self._selector.register(ours, selectors.EVENT_READ, self._links[-1])
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

    def reply(self, session: int, message: object) -> None:
        """Send to the process that holds a session while it runs; never waits."""
        self._put(self._links[session % len(self._links)], message)

    def messages(self, *ticks: Callable[[], None], interrupt: Interrupt) -> Iterator[Any]:
        """Their messages until all have finished, or until `stop_reading`; calls `ticks` at least ten times a second.

        After Ctrl-C they send nothing more, and have `IN_FLIGHT_S` to finish.
        """
        running, told = len(self._jobs), False
        while running and not interrupt.came_before(IN_FLIGHT_S) and not self._stopped:
            if interrupt.came and not told:
                told = True
                for link in self._links:
                    self._put(link, Stop())
            for message in self._receive(_TICK_S):
                running -= isinstance(message, Finished)
                yield message
            for tick in ticks:
                tick()

    def stop_reading(self) -> None:
        """End `messages`, which another thread reads."""
        self._stopped = True

    def _receive(self, timeout_s: float) -> list[Any]:
        found: list[Any] = []
        for key, events in self._selector.select(timeout_s):
            link: _Link = key.data
            if events & selectors.EVENT_WRITE:
                link.replies.flush()
                self._watch(link, buffered=True)
            messages = link.inbox.receive() if events & selectors.EVENT_READ else []
            if messages is None:
                self._selector.unregister(link.ours)
                link.ours.close()
                link.replies.flush()  # which drops them
                self._check_end(link.process_id)
            else:
                found += messages
        return found

    def _put(self, link: _Link, message: object) -> None:
        buffered = link.replies.buffered
        link.replies.put(message)
        self._watch(link, buffered=buffered)

    def _watch(self, link: _Link, *, buffered: bool) -> None:
        """Wait for room in a link from when it has something buffered until it has no more; `buffered`: whether it had."""
        if link.replies.buffered != buffered:
            writes = 0 if buffered else selectors.EVENT_WRITE
            self._selector.modify(link.ours, selectors.EVENT_READ | writes, link)

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
