"""One trial through Locust: warm up, run the processes, read what they recorded."""

from __future__ import annotations

import json
import tempfile
import time
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from base.clock import utc_now
from loadgen.endpoint import Endpoint, LoadError
from loadgen.energy.source import EnergySource
from loadgen.link.client_processes import Clients
from loadgen.link.client_watch import ClientWatch
from loadgen.link.interrupt import Interrupt
from loadgen.link.messages import Job
from loadgen.locust.processes import LocustSettings, check_installed, last_line, running
from loadgen.locust.shared_load import SharedLoad
from loadgen.metrics.read_lag import LagHistogram
from loadgen.prompts.base import Prompts
from loadgen.records.schema import WarmUp
from loadgen.records.table import Records
from loadgen.results.recorder import read_stream
from loadgen.results.result import TrialResult
from loadgen.results.server_counters import server_counters
from loadgen.trial import FinishedLoad, as_trial, warmed_up
from loadgen.workloads.base import Workload

_POLL_S = 0.05


def run_locust(
    endpoint: Endpoint,
    shared: SharedLoad,
    prompts: Prompts,
    settings: LocustSettings,
    *,
    energy: EnergySource,
    interrupt: Interrupt | None = None,
) -> TrialResult:
    """Measure one trial through Locust; blocks until it is over. `shared.records` and `shared.result` are set here.

    The native driver warms up. Raises LoadError if Locust is not installed, or if it ends without a result, with the last
    line of its log. With `interrupt`, Ctrl-C ends the load as it ends the native driver's (`loadgen.trial.run_trial`);
    without, KeyboardInterrupt ends the processes and is raised again.
    """
    check_installed()
    shared.check()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shared = shared.model_copy(update={"records": folder / "records.arrow", "result": folder / "result.json"})
        (folder / "load.json").write_text(shared.with_absolute_paths().model_dump_json())
        warmup = warm_up(endpoint, shared.workload, prompts, shared.seed)
        warmed_ns = time.monotonic_ns()
        started_at, before = utc_now(), server_counters(endpoint)
        if interrupt is not None:
            interrupt.note()
        interrupt = interrupt or Interrupt()
        with running(folder, endpoint, shared, settings) as master:
            while (status := master.poll()) is None and not interrupt.came:
                time.sleep(_POLL_S)
        if interrupt.came:
            load = FinishedLoad(_interrupted(shared), [], LagHistogram(), started_at, before, lanes=shared.workers)
        else:
            load = _finished(shared, folder, status, started_at, before)
        load = replace(load, warmup=warmup, warmed_ns=warmed_ns)
        return as_trial(
            endpoint, shared.workload, prompts, shared.seed, load, energy=energy, idle=None, interrupt=interrupt
        )


def _finished(
    shared: SharedLoad, folder: Path, status: int | None, started_at: str, before: dict[str, float]
) -> FinishedLoad:
    """Read the result and the records. Raises LoadError if Locust left no result, or a worker could not take the load."""
    if not shared.result.is_file():
        raise LoadError(f"--driver locust: ended with status {status}: {last_line(folder / 'master.log')}")
    found = json.loads(shared.result.read_bytes())
    if "refusal" in found:
        raise LoadError(f"--driver locust: {found['refusal']}")
    records = read_stream(shared.records)
    _reconcile(found["statistics"], len(records))
    return FinishedLoad(records, *_health(found["health"]), started_at, before, lanes=shared.workers)


def _interrupted(shared: SharedLoad) -> Records:
    """The records written before Ctrl-C. Raises KeyboardInterrupt if there are none."""
    if shared.records.is_file() and (records := read_stream(shared.records)):
        return records
    raise KeyboardInterrupt


def warm_up(endpoint: Endpoint, workload: Workload, prompts: Prompts, seed: int) -> WarmUp:
    """Warm up as the native driver does, by a client process that is ended before its load. Raises LoadError if all of it failed."""
    with Clients([Job(endpoint, workload.model_copy(update={"requests": 1}), prompts, seed)]) as clients:
        return warmed_up(clients.ready())


def _reconcile(statistics: dict[str, Any], records: int) -> None:
    """Raise LoadError if Locust's own count of requests is not the number of records."""
    counted = sum(entry["requests"] for name, entry in statistics.items() if name.startswith("POST "))
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
