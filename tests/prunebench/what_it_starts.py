"""What a forked command starts is forked too: its synthetic servers, and the process that forks the clients of its load.

Both are forked by processes that are there before the command begins, since it may have threads later. Commands that tests start
otherwise start all of it anew.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from loadgen.client import process as client
from loadgen.link import forks
from prunebench.cli import main
from prunebench.servers import process as servers
from prunebench.servers.parent_watch import PARENT_VARIABLE

_LONGEST = 2**17  # bytes of a message: a command line and all environment variables
_SERVE = ["-P", "-m", "prunebench", "serve"]


def fork_what_it_starts() -> None:
    """From here on, in this process."""
    forks._forks = _Clients()
    servers.subprocess = SimpleNamespace(**vars(subprocess) | {"Popen": _Servers().start})


class _Clients(forks.Forks):
    """`python -m loadgen.client.process`, forked."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = _Process(_fork(_fork_clients, theirs, self._control), _status)


def _fork_clients(control: socket.socket, others: socket.socket) -> None:
    others.close()
    sys.argv = ["", str(control.fileno())]
    client.main()


class _Servers:
    """Starts `prunebench serve --engine synthetic` as a fork, and any other command as subprocess.Popen does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            _fork(_fork_servers, theirs, self._control)

    def start(self, words: list[str], **given: Any) -> Any:
        if words[1:5] != _SERVE or words[6:8] != ["--engine", "synthetic"]:
            return subprocess.Popen(words, **given)
        question = {"words": words[4:], "environment": given["env"]}
        return _Process(self._ask(question, given["stdout"].fileno(), *given["pass_fds"]), self._status)

    def _status(self, process_id: int) -> int | None:
        return self._ask({"status": process_id})

    def _ask(self, question: dict[str, Any], *files: int) -> Any:
        with self._lock:
            socket.send_fds(self._control, [json.dumps(question).encode()], files)
            return json.loads(self._control.recv(_LONGEST))


def _fork_servers(control: socket.socket, others: socket.socket) -> None:
    others.close()
    while True:
        asked, files, _, _ = socket.recv_fds(control, _LONGEST, 2)
        if not asked:
            return
        question = json.loads(asked)
        if "status" in question:
            answer = _status(question["status"])
        else:
            answer = _fork(_serve, control, question["words"], question["environment"], *files)
            for file in files:
                os.close(file)
        control.sendall(json.dumps(answer).encode())


def _serve(control: socket.socket, words: list[str], environment: dict[str, str], log: int, lifeline: int) -> None:
    control.close()
    for number in (1, 2):
        os.dup2(log, number)
    os.close(log)
    os.environ.clear()
    os.environ.update(environment | {PARENT_VARIABLE: f"{lifeline}"})
    sys.argv = ["prunebench", *words]
    main()


def _fork(function: Callable[..., None], *arguments: object) -> int:
    """The id of a process that runs the function, in a process group of its own, with nothing to read."""
    if process_id := os.fork():
        return process_id
    status = 1
    try:
        os.setpgid(0, 0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        function(*arguments)
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does at a process's end
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _status(process_id: int) -> int | None:
    """How a child of this process has ended, once; None: it runs."""
    ended, status = os.waitpid(process_id, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


class _Process:
    """What is used of subprocess.Popen."""

    def __init__(self, process_id: int, status: Callable[[int], int | None]) -> None:
        self.pid, self.returncode = process_id, None
        self._status = status
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        with self._lock:
            if self.returncode is None:
                self.returncode = self._status(self.pid)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("serve", timeout or 0.0)
            time.sleep(0.01)
        return self.returncode

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
