"""`prunebench load --driver locust`: a Locust master and its workers as processes, and a trial of what they recorded."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import numpy as np

import loadgen.locust
from base.network import free_port
from energy.records import WindowEnergy
from loadgen.endpoint import Endpoint, LoadError
from loadgen.energy.source import EnergySource, NoEnergy
from loadgen.link.client_watch import ClientWatch
from loadgen.link.interrupt import Interrupt
from loadgen.locust.plan import KEY_VARIABLE, PLAN_VARIABLE, Plan
from loadgen.metrics.read_lag import LagHistogram
from loadgen.prompts.synthetic import Prompt, Prompts
from loadgen.records.table import Records
from loadgen.results.recorder import read_stream
from loadgen.results.result import TrialResult
from loadgen.trial import FinishedLoad, as_trial, run_trial, server_counters
from loadgen.workloads.closed_loop import ConcurrencyLoad

_CONNECT_S, _STOP_S, _LOOK_S = 60, 2.0, 0.05
# Locust, which ends when this process does, however that ends: prctl(2), PR_SET_PDEATHSIG.
_LOCUST = """
import ctypes, signal
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
from locust.main import main
main()
"""
_LOCUSTFILE = Path(loadgen.locust.__file__).with_name("users.py")


@dataclass(frozen=True)
class LocustSettings:
    """How many workers, of them how many elsewhere, where those come to, and where the web page is."""

    workers: int
    remote_workers: int = 0
    master_port: int | None = None  # None: any free one
    web_port: int | None = None  # None: there is no page
    web_host: str = "127.0.0.1"


def locust_settings(  # noqa: PLR0917 - they are as many options
    driver: str,
    workers: int | None,
    remote_workers: str | None,
    master_port: int | None,
    web_port: int | None,
    web_host: str | None,
) -> LocustSettings | None:
    """What the options ask for; None for the native driver. Raises LoadError for those that mean nothing to it."""
    given = {
        "--workers": workers,
        "--remote-workers": remote_workers,
        "--master-port": master_port,
        "--web-port": web_port,
        "--web-host": web_host,
    }
    if driver == "native":
        for flag, value in given.items():
            if value is not None:
                raise LoadError(f"{flag} {value}: is for --driver locust")
        return None
    remote = 0 if remote_workers is None else _count(remote_workers)
    if workers is not None and remote > workers:
        raise LoadError(f"--remote-workers {remote_workers}: more than --workers {workers}")
    return LocustSettings(workers or remote or 1, remote, master_port, web_port, web_host or "127.0.0.1")


def _count(remote_workers: str) -> int:
    """A number, or a host name that has an address for each of them."""
    if remote_workers.isdecimal():
        if int(remote_workers) == 0:
            raise LoadError("--remote-workers 0: leave it out")
        return int(remote_workers)
    try:
        return len({found[4][0] for found in socket.getaddrinfo(remote_workers, None, socket.AF_INET)})
    except OSError as error:
        raise LoadError(
            f"--remote-workers {remote_workers}: neither a number nor a host's name: {error.strerror}"
        ) from None


def become_worker(master: str, key: str | None) -> NoReturn:
    """Turn this process into a worker of the master at HOST:PORT, which it waits for (five minutes) and which ends it.

    Raises LoadError for an address that is none, and where Locust is not installed.
    """
    try:
        parts = urlsplit(f"//{master}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.netloc != master or parts.username is not None or not master.isprintable():
        raise LoadError(f"MASTER {master}: must be like loadgen:5557")
    _check_installed()
    words = [sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "--worker", "--exit-code-on-error", "0"]
    words += ["--master-host", host, "--master-port", str(port)]
    os.execve(words[0], words, {**os.environ, **({KEY_VARIABLE: key} if key else {})})  # noqa: S606 - no shell is wanted


def _check_installed() -> None:
    if find_spec("locust") is None:
        raise LoadError("--driver locust: not installed; pip install '.[locust]'")


def run_locust(
    endpoint: Endpoint,
    plan: Plan,
    prompts: Prompts,
    settings: LocustSettings,
    *,
    energy: EnergySource,
    keep: Path | None = None,
    idle: WindowEnergy | None = None,
    interrupt: Interrupt | None = None,
) -> TrialResult:
    """Measure one trial through Locust; blocks until it is over. `plan.records` and `plan.result` are set here.

    The warm-up is the native driver's. Raises LoadError if Locust is not installed, or ends without a result: with the last
    line that it said. KeyboardInterrupt ends the processes and goes on; records that had come are in `keep` then.
    With `interrupt`, Ctrl-C ends the load as it does the native driver's (`loadgen.trial.run_trial`).
    """
    _check_installed()
    plan.check()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = plan.model_copy(update={"records": keep or folder / "records.arrow", "result": folder / "result.json"})
        (folder / "plan.json").write_text(plan.model_dump_json())
        _warm_up(endpoint, plan, prompts)
        started_at, before = datetime.now(UTC).isoformat(timespec="seconds"), server_counters(endpoint)
        if interrupt is not None:
            interrupt.note()
        interrupt = interrupt or Interrupt()
        with _processes(folder, endpoint, plan, settings) as master:
            while (status := master.poll()) is None and not interrupt.came:
                time.sleep(_LOOK_S)
        if interrupt.came:
            load = FinishedLoad(_interrupted(plan), [], LagHistogram(), started_at, before, lanes=plan.workers)
        else:
            load = _finished(plan, folder, status, started_at, before)
        result = as_trial(endpoint, plan.workload, plan.seed, load, energy=energy, idle=idle, interrupt=interrupt)
        if keep is not None:
            keep.unlink(missing_ok=True)
        return result


def _finished(plan: Plan, folder: Path, status: int | None, started_at: str, before: dict[str, float]) -> FinishedLoad:
    """What Locust left. Raises LoadError if that is no result."""
    if not plan.result.is_file():
        raise LoadError(f"--driver locust: ended with status {status}: {_last_line(folder / 'master.log')}")
    found = json.loads(plan.result.read_bytes())
    records = read_stream(plan.records)
    _reconcile(found["statistics"], len(records))
    return FinishedLoad(records, *_health(found["health"]), started_at, before, lanes=plan.workers)


def _interrupted(plan: Plan) -> Records:
    """The records that had come by Ctrl-C. Raises KeyboardInterrupt without any."""
    if plan.records.is_file() and (records := read_stream(plan.records)):
        return records
    raise KeyboardInterrupt


@dataclass(frozen=True)
class _CountedDown:
    """The prompts of warm-up requests: none that will be measured."""

    prompts: Prompts

    def __getitem__(self, index: int) -> Prompt:
        return self.prompts[-1 - index]


def _warm_up(endpoint: Endpoint, plan: Plan, prompts: Prompts) -> None:
    """As many requests of the same shapes as the native driver sends, by that; nothing of it is kept."""
    workload = plan.workload
    together = workload.in_flight or 1
    groups = math.ceil(workload.warmup_requests / together)
    if not groups:
        return
    tokens = {"prompt_tokens": workload.prompt_tokens, "output_tokens": workload.output_tokens}
    load = ConcurrencyLoad(name="warm-up", concurrency=together, requests=groups * together, **tokens)
    load = load.model_copy(update={"warmup_requests": 0, "natural_stop": workload.natural_stop})
    nothing = NoEnergy("only the warm-up")
    done = run_trial(endpoint, load, _CountedDown(prompts), seed=plan.seed, energy=nothing)
    errors = [record.error for record in done.records]
    if all(errors):
        raise LoadError(f"{endpoint.url}: every warm-up request failed, the first with: {errors[0]}")


@contextlib.contextmanager
def _processes(
    folder: Path, endpoint: Endpoint, plan: Plan, settings: LocustSettings
) -> Iterator[subprocess.Popen[bytes]]:
    """Start them; whatever happens, none is left."""
    port = settings.master_port or free_port()
    environment = {**os.environ, PLAN_VARIABLE: str(folder / "plan.json")}
    if endpoint.api_key:
        environment[KEY_VARIABLE] = endpoint.api_key
    file = str(_LOCUSTFILE)
    base = [sys.executable, "-c", _LOCUST, "-f", file]
    web = ["--headless"] if settings.web_port is None else ["--autostart"]
    web += [] if settings.web_port is None else ["--web-host", settings.web_host, "--web-port", str(settings.web_port)]
    host = "*" if settings.remote_workers else "127.0.0.1"
    users = str(plan.users)
    master = [*base, *web, "--master", "--master-bind-host", host, "--master-bind-port", str(port)]
    master += ["--users", users, "--spawn-rate", users, "--expect-workers", str(plan.workers)]
    master += ["--expect-workers-max-wait", str(_CONNECT_S), "--exit-code-on-error", "0"]
    if settings.remote_workers:
        print(  # noqa: T201 - it is to be copied while this waits
            f"on the other machines, {settings.remote_workers} in all: prunebench load-worker THIS-HOST:{port} [--api-key-file FILE]",
            file=sys.stderr,
        )
    worker = [*base, "--worker", "--master-host", "127.0.0.1", "--master-port", str(port)]
    local = plan.workers - settings.remote_workers
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number, command in enumerate([master, *[worker] * local]):
            log = folder / ("master.log" if number == 0 else f"worker-{number}.log")
            with log.open("wb") as out:
                started.append(
                    subprocess.Popen(
                        command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, process_group=0
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


def _reconcile(statistics: dict[str, Any], records: int) -> None:
    """Locust's own count of requests must be that of the records."""
    counted = statistics.get("POST /v1/completions", {}).get("requests", 0)
    if counted != records:
        raise LoadError(f"--driver locust: Locust counted {counted} requests and {records} records arrived")


def _health(found: list[dict[str, Any]]) -> tuple[list[ClientWatch], LagHistogram]:
    watches, lags = [], LagHistogram()
    for one in found:
        at_ns, cpu_ns, lag_ns = (array("q", one[name]) for name in ("at_ns", "cpu_ns", "lag_ns"))
        watches.append(ClientWatch(at_ns, cpu_ns, lag_ns, one["clock_steps"]))
        seconds = {int(at): np.array(counts) for at, counts in one["seconds"].items()}
        lags.merge(LagHistogram(seconds, stamped=one["stamped"], reads=one["reads"]))
    return watches, lags


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1] if lines else "it said nothing"
