"""The log of a server that runs here: what it said last, and how it ended."""

from __future__ import annotations

import os
import signal
from pathlib import Path

_END = 4096  # bytes among which the last line is looked for
_OUR_PREFIX = "prunebench serve: "  # of what `prunebench serve` itself logs


def how_it_ended(status: int, log_file: Path) -> str:
    """How a server ended and the last line of its log. When memory runs out the kernel kills it without a log line."""
    how = f"status {status}"
    if status < 0:
        how = f"signal {signal.Signals(-status).name}"
    if -status == signal.SIGKILL:
        how += " (the kernel sends it when memory runs out)"
    return f"the server ended with {how}: {last_words(log_file)}"


def last_words(log_file: Path) -> str:
    """The last line of a log, or that there is none."""
    return _last_line(log_file, 0) or f"its log is empty ({log_file})"


def starting_words(log_file: Path, start: int) -> str:
    """The last line of a server that began to write at byte `start` of its log, for a line of progress."""
    line = _last_line(log_file, start)
    return "server starting" + (f": {line.removeprefix(_OUR_PREFIX)}" if line else "")


def _last_line(log_file: Path, start: int) -> str | None:
    with log_file.open("rb") as log:
        log.seek(max(start, log.seek(0, os.SEEK_END) - _END))
        lines = log.read().decode("utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else None
