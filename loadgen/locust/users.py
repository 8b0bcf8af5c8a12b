"""The workloads as Locust users: for load from several machines, and for Locust's web page to watch it.

`prunebench load --driver locust` starts a master and its workers with this file; a worker on another machine is

    prunebench load-worker HOST:PORT

The master reads the load (`loadgen.locust.shared_load`) and sends it to the workers when all users are there; every worker sends
its request records back once a second; the master writes them as they arrive, and ends when all are done.

In Locust's own statistics a request is `POST` and its path with its whole duration; `TTFT`, `TPOT` (milliseconds) and
`tokens` (a number, in the column of milliseconds) are entries beside it. They are for watching: Locust rounds percentiles to
two digits. The figures of a trial come from the records. gevent's patches hold for these processes alone.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from pathlib import Path
from typing import Any, ClassVar

import gevent
import gevent.event
from locust import User, events
from locust.runners import MasterRunner, WorkerRunner

from base.files import write_text
from loadgen.client.exchange import wire_error
from loadgen.client.kernel_stamps import ArrivalClock
from loadgen.link.client_watch import PROBE_NS, ClientWatch
from loadgen.link.messages import Ended, Part
from loadgen.locust.blocking_wire import BlockingClient
from loadgen.locust.shared_load import KEY_VARIABLE, LOAD_VARIABLE, ClockReading, Share, SharedLoad, packed, unpacked
from loadgen.metrics.latencies import record_tpot_ms, record_ttft_ms
from loadgen.prompts.request_body import request_body, request_path
from loadgen.records.arrow import ArrowStream
from loadgen.records.batch import Batch
from loadgen.records.schema import RequestRecord
from loadgen.results.recorder import Recorder

_LEAD_S = 2.0  # from the message to the workers to the first request: they are busy with their users, and make ready
_AFTER_FAILURE_S = 0.1
_REPORT_NS = 10**9
_SETTLE_S = 10.0  # for the workers' last statistics


class Worker:
    """A process's share of the load. Its users wait for the load, then each takes requests until there are none."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._ready = gevent.event.Event()
        self._done: list[RequestRecord] = []
        self._finished_users = 0
        self._watch, self._clock = ClientWatch(), ArrivalClock()

    def begin(self, environment: Any, msg: Any) -> None:  # noqa: ARG002 - Locust calls by these names
        """Take the load that the master has sent."""
        shared = SharedLoad.model_validate_json(msg.data["load"])
        self._share = Share(shared, self._environment.runner.worker_index)
        self._prompts, self._endpoint = shared.prompts(), shared.endpoint(os.environ.get(KEY_VARIABLE))
        master = ClockReading.model_validate(msg.data["clock"])
        self._began_ns = msg.data["begins_ns"] + ClockReading.now().offset_to(master)
        self._indices = self._share.indices(self._began_ns)
        self._users = iter(self._share.users())
        self._recorder = Recorder(shared.workload, shared.seed, on_finished=self._finished)
        gevent.spawn(self._keep_noting)
        self._ready.set()

    def use(self) -> None:
        """One user's life."""
        self._ready.wait()
        from_s, until_s = next(self._users)
        workload = self._share.shared.workload
        _sleep_until(self._began_ns + round(from_s * 1e9))
        if workload.open_loop:
            self._on_schedule()
        elif workload.group_size is not None:
            self._in_batches(workload.group_size)
        else:
            with BlockingClient(self._endpoint, self._clock) as client:
                leaves_ns = self._began_ns + until_s * 1e9
                while time.monotonic_ns() < leaves_ns and (index := next(self._indices, None)) is not None:
                    if not self._ask(client, index, index, time.monotonic_ns()):
                        gevent.sleep(_AFTER_FAILURE_S)
        self._finished_users += 1
        if self._finished_users == len(self._share.users()):
            self._report(last=True)

    def _on_schedule(self) -> None:
        """Requests leave when they are due, each in its own greenlet; connections are kept for the next."""
        idle: list[BlockingClient] = []
        under_way = []

        def send(index: int, scheduled_ns: int) -> None:
            client = idle.pop() if idle else BlockingClient(self._endpoint, self._clock)
            self._ask(client, index, index, scheduled_ns)
            idle.append(client)

        for index, at_s in enumerate(self._share.shared.workload.arrivals(self._share.shared.seed)):
            if self._share.is_mine(index):
                scheduled_ns = self._began_ns + round(at_s * 1e9)
                _sleep_until(scheduled_ns)
                under_way.append(gevent.spawn(send, index, scheduled_ns))
        gevent.joinall(under_way)

    def _in_batches(self, size: int) -> None:
        clients = [BlockingClient(self._endpoint, self._clock) for _ in range(size)]
        for group in itertools.count():
            members = list(itertools.islice(self._indices, size))
            if not members:
                return
            now = time.monotonic_ns()
            jobs = [gevent.spawn(self._ask, c, i, group, now) for c, i in zip(clients, members, strict=False)]
            gevent.joinall(jobs)
            if not any(job.value for job in jobs):
                gevent.sleep(_AFTER_FAILURE_S)

    def _ask(self, client: BlockingClient, index: int, group: int, scheduled_ns: int) -> bool:
        """Send one request and record it. Whether it went well."""
        shared = self._share.shared
        asked = shared.workload.answer_length(shared.seed, index)
        prompt = self._prompts[index]
        body = request_body(shared.model, shared.workload, prompt, asked)
        exchange = client.send(request_path(shared.workload, prompt), body)
        times = scheduled_ns, exchange.sent_ns, exchange.headers_ns, exchange.end_ns
        error, rest = wire_error(exchange), Part((index,), *exchange.take())
        self._recorder.ended(Ended((index,), group, *times, exchange.status, error, rest))
        return error is None

    def _finished(self, record: RequestRecord) -> None:
        self._done.append(record)
        _report_to_locust(self._environment, record, request_path(self._share.shared.workload, self._prompts[0]))

    def _keep_noting(self) -> None:
        """CPU and lateness of this process, as `loadgen.metrics.client_health` notes them; and once a second the records go out."""
        reported_ns = time.monotonic_ns()
        while True:
            due = time.monotonic_ns() + PROBE_NS
            _sleep_until(due)
            self._watch.note(due)
            if due - reported_ns > _REPORT_NS:
                reported_ns = due
                self._clock.check()
                self._report(last=False)

    def _report(self, *, last: bool) -> None:
        records, self._done = self._done, []
        self._recorder.records()  # it keeps them too
        data: dict[str, Any] = {"worker": self._share.worker, "clock": ClockReading.now().model_dump(), "health": None}
        data["records"] = packed(records)
        if last:
            lags, watch = self._recorder.lags, self._watch
            data["health"] = {
                "at_ns": watch.at_ns.tolist(),
                "cpu_ns": watch.cpu_ns.tolist(),
                "lag_ns": watch.lag_ns.tolist(),
                "clock_steps": self._clock.steps,
                "reads": lags.reads,
                "stamped": lags.stamped,
                "seconds": {str(second): counts.tolist() for second, counts in lags.seconds.items()},
            }
        if records or last:
            self._environment.runner.send_message("prunebench-records", data)


def _sleep_until(ns: int) -> None:
    while (left := ns - time.monotonic_ns()) > 0:
        gevent.sleep(left / 1e9)


def _report_to_locust(environment: Any, record: RequestRecord, path: str) -> None:
    """A request as Locust counts one, and entries of our own beside it."""
    sent, end = record.sent_ns, record.end_ns
    failed = None if record.error is None else RuntimeError(record.error)
    whole_ms = 0.0 if sent is None or end is None else (end - sent) / 1e6
    entries: list[tuple[str, str, float]] = [("POST", path, whole_ms)]
    if (ttft_ms := record_ttft_ms(record)) is not None:
        entries.append(("TTFT", "time to first token, ms", ttft_ms))
        if (tpot_ms := record_tpot_ms(record)) is not None:
            entries.append(("TPOT", "time per output token, ms", tpot_ms))
    if record.output_tokens is not None:
        entries.append(("tokens", "output tokens", float(record.output_tokens)))
    for kind, name, value in entries:
        environment.events.request.fire(
            request_type=kind,
            name=name,
            response_time=value,
            response_length=0,
            exception=failed if kind == "POST" else None,
            context={},
        )


class Master:
    """Sends the load, and writes the records that come back."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._load = SharedLoad.model_validate_json(Path(os.environ[LOAD_VARIABLE]).read_bytes())
        self._clock = ClockReading.now()
        self._health: dict[int, dict[str, Any]] = {}
        self._gathered = 0
        self._file = self._load.records.open("wb", buffering=0)
        self._stream = ArrowStream(self._file)

    def begin(self, **_: Any) -> None:
        """All users are spawned: send the workers the load and the moment to start."""
        begins_ns = time.monotonic_ns() + round(_LEAD_S * 1e9)
        data = {"load": self._load.model_dump_json(), "begins_ns": begins_ns, "clock": self._clock.model_dump()}
        self._environment.runner.send_message("prunebench-load", data)

    def gather(self, environment: Any, msg: Any) -> None:  # noqa: ARG002 - Locust calls by these names
        """Take what a worker reports; end when it was the last of them."""
        offset_ns = self._clock.offset_to(ClockReading.model_validate(msg.data["clock"]))
        records = unpacked(msg.data["records"], offset_ns)
        self._gathered += len(records)
        self._stream.write(Batch.of(records))
        health = msg.data["health"]
        if health is not None:
            health["at_ns"] = [at + offset_ns for at in health["at_ns"]]
            health["seconds"] = {int(at) + offset_ns // 10**9: counts for at, counts in health["seconds"].items()}
            self._health[msg.data["worker"]] = health
            if len(self._health) == self._load.workers:
                gevent.spawn(self._finish)

    def _counted(self) -> int:
        """Requests in Locust's own statistics, which the workers send every few seconds."""
        return sum(entry.num_requests for entry in self._environment.stats.entries.values() if entry.method == "POST")

    def _finish(self) -> None:
        runner = self._environment.runner
        runner.stop()  # the workers send their last statistics then
        deadline = time.monotonic() + _SETTLE_S
        while self._counted() < self._gathered and time.monotonic() < deadline:
            gevent.sleep(0.05)
        self._stream.close()
        self._environment.process_exit_code = 0  # failed requests are in the records
        entries = self._environment.stats.entries.values()
        found = {
            "health": list(self._health.values()),
            "statistics": {
                f"{e.method} {e.name}": {
                    "requests": e.num_requests,
                    "failures": e.num_failures,
                    "sum": e.total_response_time,
                }
                for e in entries
            },
        }
        write_text(self._load.result, json.dumps(found))
        runner.quit()
        if self._environment.web_ui is not None:
            self._environment.web_ui.stop()  # what the process waits for when it has a page


class PrunebenchUser(User):  # type: ignore[misc]  # Locust ships no types
    """One user of the load; what all users of a process do is in its `Worker`."""

    worker: ClassVar[Worker]

    def run(self) -> None:
        """Instead of Locust's own loop over tasks."""
        self.worker.use()
        gevent.event.Event().wait()  # until the test is stopped: a user that returns is gone from the count


@events.init.add_listener  # type: ignore[untyped-decorator]  # as above
def _on_init(environment: Any, **_: Any) -> None:
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        PrunebenchUser.worker = Worker(environment)
        runner.register_message("prunebench-load", PrunebenchUser.worker.begin)
    elif isinstance(runner, MasterRunner):
        master = Master(environment)
        runner.register_message("prunebench-records", master.gather)
        environment.events.spawning_complete.add_listener(master.begin)
