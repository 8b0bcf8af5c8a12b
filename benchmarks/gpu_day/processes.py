"""One command with a time limit, and nothing left of it afterwards: interrupted, then killed with all that it started.

Only the standard library: this must work on a machine where nothing else could be installed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_PDEATHSIG, _CHILD_SUBREAPER = 1, 36  # of prctl(2)
_POLL_S = 0.1
_HURRY_S = 3.0  # the patience once `stop` has given a reason
_ORPHANS_S = 5.0  # for servers and the guardian of GPU limits, which see by themselves that their parent is gone
_LIBC = ctypes.CDLL(None)

Status = Literal["done", "cut", "failed"]


@dataclass(frozen=True)
class Ended:
    """How a command ended; `reason` is None if it is done."""

    status: Status
    reason: str | None
    seconds: float


def adopt_orphans() -> None:
    """Become the parent of every process whose own parent has ended, below this one: none escapes `run_for`."""
    _LIBC.prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)


def run_for(
    command: Sequence[str],
    log: Path,
    seconds: float,
    *,
    environment: Mapping[str, str],
    patience_s: float,
    stop: Callable[[], str | None],
) -> Ended:
    """Run a command for at most `seconds`, its output to `log`.

    It is interrupted as by Ctrl-C `patience_s` before that, and killed then. As soon as `stop`, called every 0.1 s, gives a
    reason, it is interrupted for that, and killed 3 s later at the latest.
    """
    began = time.monotonic()
    with log.open("ab") as output:
        try:
            child = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environment),
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - this process has one thread
            )
        except OSError as error:
            return Ended("failed", f"{command[0]}: {error.strerror}", 0.0)
        cut = _wait(child, began + seconds - patience_s, stop)
        if cut is not None:
            _signal(child.pid, signal.SIGINT)
            _wait(child, time.monotonic() + (min(patience_s, _HURRY_S) if cut else patience_s), lambda: None)
        _signal(child.pid, signal.SIGKILL)
        child.wait()
    _end_orphans()
    took = time.monotonic() - began
    if cut is not None:
        return Ended("cut", cut or f"ran over its {seconds:.0f} s", took)
    if child.returncode:
        return Ended("failed", _how(child.returncode, log), took)
    return Ended("done", None, took)


def _wait(child: subprocess.Popen[bytes], until: float, stop: Callable[[], str | None]) -> str | None:
    """None once it has ended; else what `stop` gave, empty if `until` has passed."""
    while child.poll() is None:
        if (reason := stop()) is not None:
            return reason
        if time.monotonic() > until:
            return ""
        time.sleep(_POLL_S)
    return None


def _how(status: int, log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    last = f": {lines[-1][:300]}" if lines else ""
    if status > 0:
        return f"status {status}{last}"
    memory = ", as the kernel does when memory runs out" if -status == signal.SIGKILL else ""
    return f"ended by {signal.Signals(-status).name}{memory}{last}"


def _end_with_parent() -> None:
    """In the child: end with this process, and be interruptible though a shell in the background ignores SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _LIBC.prctl(_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _end_orphans() -> None:
    """Wait a while for all that is left below this process, then kill it."""
    until = time.monotonic() + _ORPHANS_S
    while left := list(_descendants(os.getpid())):
        if time.monotonic() > until:
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(_POLL_S / 2)


def _descendants(process: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    waiting = [process]
    while waiting:
        found = children.get(waiting.pop(), [])
        yield from found
        waiting += found
