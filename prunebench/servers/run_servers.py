"""The servers that a run has up: one at a time, or all side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from prunebench.servers.process import Server
from prunebench.terminal.progress import Progress, unseen


@dataclass
class ServerPool:
    """The servers a run has up: one at a time, or all side by side (`serve.keep_servers`)."""

    start: Callable[[str, Progress], Server]
    keep: bool
    _running: dict[str, Server] = field(default_factory=dict)

    def acquire(self, label: str, progress: Progress = unseen) -> Server:
        """The healthy server of a configuration, started if need be."""
        server = self._running.get(label)
        if server is not None and server.alive():
            return server
        self.discard(label)
        if not self.keep:
            self.close()
        self._running[label] = self.start(label, progress)
        return self._running[label]

    def any_running(self) -> bool:
        """Whether any server is up."""
        return any(server.alive() for server in self._running.values())

    def discard(self, label: str) -> None:
        """End one server, because it failed or is no longer needed."""
        server = self._running.pop(label, None)
        if server is not None:
            server.stop()

    def close(self) -> None:
        """End them all."""
        for label in list(self._running):
            self.discard(label)
