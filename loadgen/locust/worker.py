"""A worker of a Locust load: its share of the requests, sent by its users, and their records on their way to the master."""

from __future__ import annotations

import itertools
import math
import os
import time
from typing import Any, cast

import gevent
import gevent.event

from loadgen.client.exchange import Exchange, wire_error
from loadgen.client.kernel_stamps import ArrivalClock
from loadgen.endpoint import LoadError
from loadgen.link.client_watch import PROBE_NS, ClientWatch
from loadgen.link.messages import Ended, Part
from loadgen.locust.blocking_wire import BlockingClient
from loadgen.locust.shared_load import ClockReading, Share, SharedLoad, packed
from loadgen.metrics.latencies import record_tpot_ms, record_ttft_ms
from loadgen.prompts.encoded_turns import Carried, encode_turns
from loadgen.prompts.request_body import CHAT, asked_tokens, request_body, request_path
from loadgen.prompts.sessions import Sessions
from loadgen.records.schema import RequestRecord
from loadgen.results.recorder import Recorder
from loadgen.workloads.sessions import SessionsLoad

_AFTER_FAILURE_S = 0.1
_REPORT_NS = 10**9


class Worker:
    """A process's share of the load. Its users wait for the load, then each takes requests until there are none."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._ready = gevent.event.Event()
        self._done: list[RequestRecord] = []
        self._finished_users = 0
        self._watch, self._clock = ClientWatch(), ArrivalClock()

    def begin(self, environment: Any, msg: Any) -> None:  # noqa: ARG002 - Locust calls by these names
        """Take the load that the master has sent, or report why this worker cannot."""
        shared = SharedLoad.model_validate_json(msg.data["load"])
        try:
            self._endpoint = shared.endpoint(os.environ)
        except LoadError as error:
            self._environment.runner.send_message("prunebench-refusal", {"reason": f"{error}"})
            return
        self._share = Share(shared, self._environment.runner.worker_index)
        self._prompts = shared.prompts()
        master = ClockReading.model_validate(msg.data["clock"])
        self._began_ns = msg.data["begins_ns"] + ClockReading.now().offset_to(master)
        self._indices = self._share.indices(self._began_ns)
        self._users = iter(self._share.users())
        if isinstance(self._prompts, Sessions):
            self._sessions = self._share.sessions(self._prompts)
        self._recorder = Recorder(shared.workload, shared.seed, prompts=self._prompts, on_finished=self._finished)
        gevent.spawn(self._keep_noting)
        self._ready.set()

    def use(self) -> None:
        """One user's life."""
        self._ready.wait()
        from_s, until_s = next(self._users)
        workload = self._share.shared.workload
        _sleep_until(self._began_ns + round(from_s * 1e9))
        if isinstance(workload, SessionsLoad):
            self._hold_sessions(workload)
        elif workload.open_loop:
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

    def _hold_sessions(self, workload: SessionsLoad) -> None:
        """A user's sessions, one after another; or all of this worker's, each in its own greenlet when it is due."""
        ends_ns = self._began_ns + (workload.duration_s or math.inf) * 1e9
        idle: list[BlockingClient] = []

        def hold(number: int, first: int, scheduled_ns: int) -> None:
            client = idle.pop() if idle else BlockingClient(self._endpoint, self._clock)
            self._hold(workload, client, number, first, scheduled_ns)
            idle.append(client)

        if workload.concurrency is not None:
            while (now := time.monotonic_ns()) < ends_ns and (planned := next(self._sessions, None)) is not None:
                hold(*planned, now)
            return
        shared, under_way = self._share.shared, []
        starts = itertools.islice(workload.session_starts(shared.seed), self._share.worker, None, shared.workers)
        for (number, first), at_s in zip(self._sessions, starts, strict=False):
            scheduled_ns = self._began_ns + round(at_s * 1e9)
            if scheduled_ns >= ends_ns:
                break
            _sleep_until(scheduled_ns)
            under_way.append(gevent.spawn(hold, number, first, scheduled_ns))
        gevent.joinall(under_way)

    def _hold(self, workload: SessionsLoad, client: BlockingClient, number: int, first: int, scheduled_ns: int) -> None:
        """One session, turn by turn, until one fails."""
        shared, conversation = self._share.shared, cast("Sessions", self._prompts).session(number)
        turns = encode_turns(shared.model, workload, conversation, shared.seed, first)
        carried = Carried(turns, recorded=workload.carry == "recorded")
        for n in range(len(turns)):
            if n:
                _sleep_until(scheduled_ns)
            exchange = self._send(client, (CHAT, carried.body(n)), first + n, number, scheduled_ns, turn=n)
            if exchange.message is None:  # it failed
                gevent.sleep(_AFTER_FAILURE_S)
                return
            if n == len(turns) - 1:
                return
            carried.answer(n, exchange.message, exchange.calls)
            think_ns = round(workload.think_s(shared.seed, first + n + 1) * 1e9)
            scheduled_ns = (exchange.end_ns or time.monotonic_ns()) + think_ns

    def _ask(self, client: BlockingClient, index: int, group: int, scheduled_ns: int) -> bool:
        """Send one request and record it. Whether it went well."""
        shared, prompt = self._share.shared, self._prompts[index]
        asked = asked_tokens(shared.workload, shared.seed, index, self._prompts.own_length(index))
        body = request_body(shared.model, shared.workload, prompt, asked)
        request = request_path(shared.workload, prompt), body
        return wire_error(self._send(client, request, index, group, scheduled_ns)) is None

    def _send(
        self,
        client: BlockingClient,
        request: tuple[str, bytes],
        index: int,
        group: int,
        scheduled_ns: int,
        *,
        turn: int | None = None,
    ) -> Exchange:
        """Send one request, a path and a body, and record it. The exchange of a session's turn has its `message`, unless it failed."""
        exchange = client.send(*request)
        times = scheduled_ns, exchange.sent_ns, exchange.headers_ns, exchange.end_ns
        error, rest = wire_error(exchange), Part((index,), *exchange.take())
        ended = Ended((index,), group, *times, exchange.status, error, rest, turn)
        said = self._recorder.ended(ended)
        exchange.message, exchange.calls = said.message, said.calls
        return exchange

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
