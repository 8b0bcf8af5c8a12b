"""The log of a server that runs here: what it said last, and how it ended."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

_END = 65536  # bytes that are looked through, from the end
_EXCEPTION = re.compile(r"\b[A-Z]\w*(?:Error|Exception): .+")
_FOLLOWS = "EngineDeadError"  # vLLM's, of the process that finds another one dead
_OUR_PREFIX = "prunebench serve: "  # of what `prunebench serve` itself logs


def how_it_ended(status: int, log_file: Path, start: int = 0) -> str:
    """How a server ended that began to write at byte `start` of its log, and what that says of the cause.

    When memory runs out the kernel kills it without a log line.
    """
    how = f"status {status}"
    if status < 0:
        how = f"signal {signal.Signals(-status).name}"
    if -status == signal.SIGKILL:
        how += " (the kernel sends it when memory runs out)"
    return f"the server ended with {how}: {last_words(log_file, start) if status < 0 else cause(log_file, start)}"


def cause(log_file: Path, start: int = 0) -> str:
    """The last exception that a log names, or what prunebench itself said last, or the last line."""
    lines = _lines(log_file, start)
    named = [match[0] for line in lines if (match := _EXCEPTION.search(line)) and _FOLLOWS not in line]
    ours = [line for line in lines if line.startswith(("prunebench: ", _OUR_PREFIX))]
    return next((found[-1] for found in (named, ours) if found), last_words(log_file, start))


def last_words(log_file: Path, start: int = 0) -> str:
    """The last line of a log, or that there is none."""
    return next(reversed(_lines(log_file, start)), f"its log is empty ({log_file})")


def starting_words(log_file: Path, start: int) -> str:
    """The last line of a server that began to write at byte `start` of its log, for a line of progress."""
    lines = _lines(log_file, start)
    return "server starting" + (f": {lines[-1].removeprefix(_OUR_PREFIX)}" if lines else "")


def _lines(log_file: Path, start: int) -> list[str]:
    with log_file.open("rb") as log:
        log.seek(max(start, log.seek(0, os.SEEK_END) - _END))
        return log.read().decode("utf-8", errors="replace").strip().splitlines()
