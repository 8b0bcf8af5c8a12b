"""A terminal that commands run in, and what it was sent, as lines of text."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping
from pathlib import Path

from tests.prunebench.conftest import RUN_DRAWING_ONE_PICTURE

_XTERM = {"TERM": "xterm-256color"}
_OURS = {"NO_COLOR", "FORCE_COLOR", "CI", "COLUMNS", "LINES"}  # of the tests' own environment
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def lines_of(sent: str) -> list[str]:
    """Every line that was drawn, also those that were drawn over."""
    return [line for line in re.split(r"[\r\n]+", _CONTROL.sub("", sent)) if line]


def run_in_terminal(
    *words: object,
    folder: Path,
    columns: int = 100,
    timeout_s: float = 120,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run `prunebench WORDS…` in a terminal of 24 lines; its exit status and everything that it sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    code = ["-c", RUN_DRAWING_ONE_PICTURE] if words[:1] == ("run",) else ["-m", "prunebench"]
    process = subprocess.Popen(
        [sys.executable, "-P", *code, *map(str, words)],
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={
            **{name: value for name, value in os.environ.items() if name not in _OURS},
            **_XTERM,
            **(environment or {}),
        },
    )
    os.close(theirs)
    sent: list[bytes] = []
    reading = threading.Thread(target=_read, args=(ours, sent))
    reading.start()
    try:
        status = process.wait(timeout_s)
    finally:
        process.kill()
        process.wait()
        reading.join()
        os.close(ours)
    return status, b"".join(sent).decode()


def _read(terminal: int, sent: list[bytes]) -> None:
    with contextlib.suppress(OSError):  # raised once no process has the terminal
        while part := os.read(terminal, 65536):
            sent.append(part)
