"""The servers that a run has up: one at a time, or all side by side."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from prunebench.servers.process import POLL_S, RunningServer, Server, ServerStartError
from prunebench.terminal.progress import Progress, unseen


def starts_at_once() -> int:
    """The number of servers that start side by side: most of a start is one thread that imports, so one for each usable core."""
    return len(os.sched_getaffinity(0))


@dataclass
class ServerPool:
    """The servers a run has up: one at a time, or all side by side (`serve.keep_servers`)."""

    start: Callable[[str, Progress], Server]
    keep: bool
    _running: dict[str, Server] = field(default_factory=dict)
    _failed: dict[str, ServerStartError] = field(default_factory=dict)  # whose start side by side did, until acquired
    _together: set[str] = field(default_factory=set)  # those up that were started side by side with another

    def acquire(self, label: str, progress: Progress = unseen) -> Server:
        """The healthy server of a configuration, started if need be. Raises what its start raised."""
        if self.is_up(label):
            return self._running[label]
        self.discard(label)
        if (error := self._failed.pop(label, None)) is not None:
            raise error
        if not self.keep:
            self.close()
        self._running[label] = self.start(label, progress)
        return self._running[label]

    def start_together(
        self, launches: Mapping[str, Callable[[], RunningServer]], timeout_s: float, progress: Progress = unseen
    ) -> None:
        """Start servers side by side, as many at a time as `starts_at_once`, and wait until each is healthy or has failed.

        `launches` start the process of each and wait for nothing. An error of one is raised when it is acquired.
        """
        waiting, at_once = list(launches), min(starts_at_once(), len(launches))
        words = f"servers, {at_once} starting at a time"
        progress(0, len(launches), words)
        with _ended_by_errors() as starting:
            while waiting or starting:
                while waiting and len(starting) < at_once:
                    label = waiting.pop(0)
                    starting[label] = launches[label]()
                for label in [
                    label for label, server in starting.items() if self._has_ended_start(label, server, timeout_s)
                ]:
                    del starting[label]
                    progress(len(launches) - len(waiting) - len(starting), len(launches), words)
                time.sleep(POLL_S)
        self._together |= self._running.keys() & launches.keys() if at_once > 1 else set()

    def was_started_together(self, label: str) -> bool:
        """Whether other servers started at the same time: its time to start is not that of one alone, and no joules are its own."""
        return label in self._together

    def is_up(self, label: str) -> bool:
        """Whether a configuration's server is up."""
        return label in self._running and self._running[label].alive()

    def any_running(self) -> bool:
        """Whether any server is up."""
        return any(map(self.is_up, self._running))

    def discard(self, label: str) -> None:
        """End one server, because it failed or is no longer needed."""
        self._together.discard(label)
        server = self._running.pop(label, None)
        if server is not None:
            server.stop()

    def close(self) -> None:
        """End them all."""
        for server in self._running.values():
            if isinstance(server, RunningServer):
                server.terminate()  # each takes seconds to end
        for label in list(self._running):
            self.discard(label)

    def _has_ended_start(self, label: str, server: RunningServer, timeout_s: float) -> bool:
        """Whether it is up, or has failed."""
        try:
            if not server.is_up(timeout_s):
                return False
        except ServerStartError as error:
            server.stop()
            self._failed[label] = error
        else:
            self._running[label] = server
        return True


@contextmanager
def _ended_by_errors() -> Iterator[dict[str, RunningServer]]:
    """Servers that still start, which an error or Ctrl-C ends."""
    starting: dict[str, RunningServer] = {}
    try:
        yield starting
    except BaseException:
        for server in starting.values():
            server.stop()
        raise
