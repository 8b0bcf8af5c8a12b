"""A server in a process of its own, `prunebench serve` or another: started, watched and ended here."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Protocol

import httpx
import psutil

from base.errors import UserError
from base.network import free_port
from loadgen.control import control_client
from loadgen.endpoint import Endpoint, only_model
from prunebench.servers.commands import Command
from prunebench.servers.parent_watch import PARENT_VARIABLE
from prunebench.servers.server_log import cause, how_it_ended, last_words, starting_words
from prunebench.terminal.progress import Progress, unseen

_STOP_S = 20.0
POLL_S = 0.1  # between two health checks of a starting server
_HEALTH_S = 10.0  # deadline of a health check; a later answer counts as a hang
_LAST_WORDS_S = 5.0  # time for a server whose engine has died to log why and end


class ServerStartError(UserError):
    """A checkpoint could not be served; the message carries the last line of the server's log."""


class Server(Protocol):
    """A healthy server, wherever it runs."""

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""

    @property
    def load_s(self) -> float | None:
        """From the start of the process to its first healthy answer; None if it was there already."""

    def alive(self) -> bool:
        """Whether its process still runs."""

    def problem(self) -> str | None:
        """What is wrong with it; None if it reports that it is healthy."""

    def engine_process_ids(self) -> list[int]:
        """The processes that its engine has started; none if they are on another machine."""

    def stop(self) -> None:
        """End it."""


@dataclass
class RunningServer:
    """A healthy server process of ours."""

    endpoint: Endpoint
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    log_file: Path
    lifeline: IO[bytes]  # closes with this process, which ends the server
    log_start: int  # bytes of the log that are of earlier servers
    began: float  # time.monotonic() at its start
    load_s: float = 0.0  # from there to its first healthy answer
    health: str = "/health"

    def has_started(self, timeout_s: float, *, healthy: bool) -> bool:
        """Whether it is up, given what its `/health` just answered.

        Raises ServerStartError if it has ended, or if `timeout_s` has passed since its start.
        """
        status = self.process.poll()
        if status is not None:  # the healthy answer came from another process
            raise ServerStartError(how_it_ended(status, self.log_file, self.log_start))
        if healthy:
            self.load_s = time.monotonic() - self.began
            if not self.endpoint.model:
                self.endpoint = replace(self.endpoint, model=only_model(self.endpoint))
            return True
        if time.monotonic() - self.began > timeout_s:
            line = last_words(self.log_file, self.log_start)
            raise ServerStartError(f"the server was not healthy in time (serve.start_timeout_s): {line}")
        return False

    def is_up(self, timeout_s: float) -> bool:
        """Ask it whether it is up. Raises as `has_started`."""
        return self.has_started(timeout_s, healthy=is_healthy(self.endpoint.url, self.health))

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def problem(self) -> str | None:
        """What is wrong with it; None if it reports that it is healthy."""
        if self.alive() and is_healthy(self.endpoint.url, self.health):
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_LAST_WORDS_S)
        if self.alive():
            return f"the server does not report that it is healthy: {cause(self.log_file, self.log_start)}"
        return how_it_ended(self.process.returncode, self.log_file, self.log_start)

    def engine_process_ids(self) -> list[int]:
        """The processes that its engine has started; none for an engine in the server's own process."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]
        return []

    def stop(self) -> None:
        """Ask it to end, and kill it after a while."""
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP_S)
        self.kill()

    def terminate(self) -> None:
        """Ask it to end, without waiting."""
        if self.alive():
            self.process.terminate()

    def kill(self) -> None:
        """End what is left of it; its own children go with its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()
        self.lifeline.close()


def start_server(
    command: Command,
    log_file: Path,
    *,
    start_timeout_s: float,
    request_timeout_s: float,
    progress: Progress = unseen,
) -> RunningServer:
    """Start a server and wait until it is healthy; what it last logged is shown meanwhile.

    Raises ServerStartError if it ends or does not get healthy in time.
    """
    server = launch_server(command, log_file, request_timeout_s=request_timeout_s)
    try:
        while not server.is_up(start_timeout_s):
            progress(0, 0, f"{command.model or log_file.stem}, {starting_words(log_file, server.log_start)}")
            time.sleep(POLL_S)
        progress(1, 1, f"{command.model or log_file.stem}, server started")
    except BaseException:
        server.stop()
        raise
    return server


def launch_server(command: Command, log_file: Path, *, request_timeout_s: float) -> RunningServer:
    """Start a server's process without waiting: the caller checks `has_started` every `POLL_S`."""
    port = command.port or free_port()
    log = log_file.open("ab")
    log_start = log.tell()
    theirs, ours = os.pipe()
    process = subprocess.Popen(
        command.arguments(port),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        # Ctrl-C goes to the runner, which ends its servers itself. Its own session would shield it too, but the kernel shares
        # processors between sessions first, and the client would be kept waiting.
        process_group=0,
        pass_fds=[theirs],
        env={**os.environ, **command.environment, PARENT_VARIABLE: str(theirs)},
    )
    os.close(theirs)
    endpoint = Endpoint(
        url=f"http://{_reachable(command.host)}:{port}", model=command.model or "", timeout_s=request_timeout_s
    )
    return RunningServer(
        endpoint,
        process,
        log,
        log_file,
        lifeline=os.fdopen(ours, "wb"),
        log_start=log_start,
        began=time.monotonic(),
        health=command.health,
    )


def _reachable(host: str) -> str:
    """The address, as part of a URL, at which this machine reaches a server that listens on `host`."""
    address = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{address}]" if ":" in address else address


def is_healthy(url: str, path: str = "/health") -> bool:
    """Whether the server at `url` reports so within the deadline."""
    with contextlib.suppress(httpx.TransportError), control_client(url, deadline_s=_HEALTH_S) as client:
        return client.get(path).status_code == httpx.codes.OK
    return False
