"""A server of another project, started by a command line of the user's.

It knows nothing of our pipe, so that a process of ours stands between: it ends the server when the runner dies, however that
dies, and passes signals on.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from base.python_process import python_command
from prunebench.servers.parent_watch import end_with_parent


@dataclass(frozen=True)
class CommandLine:
    """A command line with `{port}` and perhaps `{checkpoint}`. No shell reads it."""

    text: str
    checkpoint: Path | None
    model: str | None
    health: str
    environment: Mapping[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int | None = None

    def arguments(self, port: int) -> list[str]:
        """The command line behind our own process."""
        return python_command("-m", "prunebench.servers.command_line", *self.words(port))

    def words(self, port: int) -> list[str]:
        """The user's command line with its places filled."""
        folder = "" if self.checkpoint is None else str(self.checkpoint)
        return [word.replace("{port}", str(port)).replace("{checkpoint}", folder) for word in shlex.split(self.text)]


def main(words: list[str]) -> int:
    """Run a command line as a child until it or the runner ends; returns its status. Errors go to stderr, the server's log."""
    end_with_parent()
    try:
        child = subprocess.Popen(words)
    except OSError as error:
        sys.stderr.write(f"{words[0]}: {error.strerror}\n")
        return 127

    def passed_on(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, passed_on)
    status = child.wait()
    if status < 0:  # so that the runner sees the same signal
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
