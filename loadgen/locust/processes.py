"""Locust's processes: the master and its workers here, started and ended, or this process as a worker of a master elsewhere."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from base.network import free_port
from base.python_process import python_command
from loadgen.endpoint import Endpoint, LoadError
from loadgen.locust.shared_load import LOAD_VARIABLE, SharedLoad, in_environment

_CONNECT_S, _STOP_S = 60, 2.0
# Locust, ended by the kernel when this process ends, however that happens: prctl(2), PR_SET_PDEATHSIG.
_LOCUST = """
import ctypes, signal
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
from locust.main import main
main()
"""
# Also its working folder: Locust puts that first on its path, whatever -P says, and reads a `locust.conf` there.
_LOCUSTFILE = Path(__file__).with_name("users.py")


@dataclass(frozen=True)
class LocustSettings:
    """How many workers, how many of them are on other machines, where they connect, and where the web page is."""

    workers: int
    remote_workers: int = 0
    master_port: int | None = None  # None: any free one
    web_port: int | None = None  # None: there is no page
    web_host: str = "127.0.0.1"


def become_worker(master: str, key: str | None, headers: Sequence[tuple[str, str]]) -> NoReturn:
    """Turn this process into a worker of the master at HOST:PORT; it waits five minutes for the master, which also ends it.

    Raises LoadError for an invalid address, and where Locust is not installed.
    """
    try:
        parts = urlsplit(f"//{master}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.netloc != master or parts.username is not None or not master.isprintable():
        raise LoadError(f"MASTER {master}: must be like loadgen:5557")
    check_installed()
    words = python_command("-m", "locust", "-f", str(_LOCUSTFILE), "--worker", "--exit-code-on-error", "0")
    words += ["--master-host", host, "--master-port", str(port)]
    os.chdir(_LOCUSTFILE.parent)
    os.execve(words[0], words, {**os.environ, **in_environment(key, headers)})  # noqa: S606 - no shell is wanted


def check_installed() -> None:
    """Raise LoadError if Locust is not installed."""
    if find_spec("locust") is None:
        raise LoadError("--driver locust: not installed; pip install 'prunebench[locust]'")


@contextlib.contextmanager
def running(
    folder: Path, endpoint: Endpoint, shared: SharedLoad, settings: LocustSettings
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the master and the workers here, yield the master; all are ended on leaving, however that happens."""
    port = settings.master_port or free_port()
    environment = {**os.environ, LOAD_VARIABLE: str(folder / "load.json")}
    environment |= in_environment(endpoint.api_key, endpoint.headers)
    file = str(_LOCUSTFILE)
    base = python_command("-c", _LOCUST, "-f", file)
    web = ["--headless"] if settings.web_port is None else ["--autostart"]
    web += [] if settings.web_port is None else ["--web-host", settings.web_host, "--web-port", str(settings.web_port)]
    host = "*" if settings.remote_workers else "127.0.0.1"
    users = str(shared.users)
    master = [*base, *web, "--master", "--master-bind-host", host, "--master-bind-port", str(port)]
    master += ["--users", users, "--spawn-rate", users, "--expect-workers", str(shared.workers)]
    master += ["--expect-workers-max-wait", str(_CONNECT_S), "--exit-code-on-error", "0"]
    if settings.remote_workers:
        headers = "".join(f" --header '{name}: …'" for name, _ in endpoint.headers)
        print(  # noqa: T201 - for the user to copy while this process waits for the workers
            f"on the other machines, {settings.remote_workers} in all: prunebench load-worker THIS-HOST:{port} [--api-key-file FILE]{headers}",
            file=sys.stderr,
        )
    worker = [*base, "--worker", "--master-host", "127.0.0.1", "--master-port", str(port)]
    local = shared.workers - settings.remote_workers
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number, command in enumerate([master, *[worker] * local]):
            log = folder / ("master.log" if number == 0 else f"worker-{number}.log")
            with log.open("wb") as out:
                started.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=out,
                        env=environment,
                        process_group=0,
                        cwd=_LOCUSTFILE.parent,
                    )
                )
        yield started[0]
    finally:
        _end(started)


def _end(started: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + _STOP_S
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in started:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.1, deadline - time.monotonic()))
        process.kill()
        process.wait()


def last_line(log: Path) -> str:
    """The last line of a log."""
    lines = log.read_text("utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1] if lines else "its log is empty"
