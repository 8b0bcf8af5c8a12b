"""One trial: warm up, offer the workload, record every request, meter the window."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http
import itertools
import json
import math
import resource
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx
import uvloop
from prometheus_client.parser import text_string_to_metric_families

from energy.records import PowerTimeline, WindowEnergy
from loadgen.ahead import RequestsAhead
from loadgen.backlog import Backlog
from loadgen.client_health import ClientWatch, watch_client
from loadgen.endpoint import Endpoint, LoadError
from loadgen.metering import EnergySource
from loadgen.prompts import Prompts
from loadgen.records import RequestRecord, Trial, WarmUp, Workload
from loadgen.shapes import answer_length
from loadgen.sse import error_of
from loadgen.timer import Timer
from loadgen.warmup import Steadiness, warm_up
from loadgen.window import cut_window
from loadgen.wire import Exchange, WireClient
from loadgen.workloads import arrivals, in_flight, user_starts

_AFTER_FAILURE_S = 0.1  # a user whose request has failed waits so long: a dead server is not asked a million times
_SPARE = 16  # connections an open loop has at hand from the start
_LEAD_NS = 10**9  # power is kept from so long before the first request until so long after the last
_Step = TypeVar("_Step")
_GENERATED, _PREFIX_HITS = "vllm:generation_tokens", "vllm:prefix_cache_hits"


@dataclass(frozen=True)
class TrialResult:
    """A finished trial: what `loadgen.store` writes."""

    trial: Trial
    records: list[RequestRecord]
    power: PowerTimeline = field(default_factory=lambda: PowerTimeline(meters=[]))
    stalled: bool = False  # the load was cut short: a request waited its whole timeout, and nothing ended meanwhile


def run_trial(
    endpoint: Endpoint,
    workload: Workload,
    prompts: Prompts,
    *,
    seed: int,
    energy: EnergySource,
    idle: WindowEnergy | None = None,
    until: Steadiness | None = None,
    on_finished: Callable[[RequestRecord], None] | None = None,
) -> TrialResult:
    """Measure one trial; blocks until it is over.

    The warm-up has the workload's `warmup_requests`, and with `until` as many more as it takes to be steady.
    `on_finished` sees every measured request as it ends; its tokens are only counted after the trial. Failed requests are
    records with an error. Raises LoadError if the whole warm-up failed, or if not one request got as far as the server.
    KeyboardInterrupt closes the connections and goes on.
    """
    _allow_many_connections()
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    driver = _Driver(endpoint, workload, prompts, seed, on_finished or (lambda _: None), until=until)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        watch = runner.run(driver.run())
    driver.backlog.read_all()
    records = sorted(driver.records, key=lambda record: record.index)
    if not any(r.sent_ns is not None for r in records):
        raise LoadError(
            f"{endpoint.url}: no request could be sent: {records[0].error if records else 'there were none'}"
        )
    start, end, rule = cut_window(workload, records)
    joules = energy.over(start, end, idle=idle)
    before, after = driver.counters_before, _server_counters(endpoint)
    trial = Trial(
        url=endpoint.url,
        model=endpoint.model,
        workload=workload,
        seed=seed,
        window_start_ns=start,
        window_end_ns=end,
        window_rule=rule,
        first_sent_ns=min(r.sent_ns for r in records if r.sent_ns is not None),
        last_end_ns=max(r.end_ns for r in records if r.end_ns is not None),
        started_at=started_at,
        client=watch.health(workload, records, start, end),
        energy=joules,
        warmup=driver.warmup,
        server_prefix_hit_tokens=_change(before, after, _PREFIX_HITS),
        server_generated_tokens=_change(before, after, _GENERATED),
    )
    power = energy.power(trial.first_sent_ns - _LEAD_NS, trial.last_end_ns + _LEAD_NS)
    return TrialResult(trial, records, power, driver.stalled)


@dataclass
class _Driver:
    endpoint: Endpoint
    workload: Workload
    prompts: Prompts
    seed: int
    on_finished: Callable[[RequestRecord], None]
    records: list[RequestRecord] = field(default_factory=list)
    backlog: Backlog = field(default_factory=Backlog)
    counters_before: dict[str, float] = field(default_factory=dict)  # the server's, when the warm-up was over
    until: Steadiness | None = None
    warmup: WarmUp | None = None
    last_end_ns: int = 0  # of an answer that came to its end
    stalled: bool = False

    async def run(self) -> ClientWatch:
        async with WireClient(self.endpoint) as client:
            self.warmup = await self._warm_up(client)
            requests = RequestsAhead(lambda number: self._request(client, number), self._count())
            requests.fill()
            self.counters_before = _server_counters(self.endpoint)
            aside = _aside(requests.keep_full(), self.backlog.keep_small())
            async with watch_client() as watch, aside, _no_full_collections():
                if self.workload.open_loop:
                    await self._open_loop(client, requests)
                elif self.workload.kind == "batch":
                    await self._batches(client, requests)
                else:
                    await self._closed_loop(client, requests)
        return watch

    async def _warm_up(self, client: WireClient) -> WarmUp:
        """The same shapes as will be measured, in whole groups of as many as will be in flight; nothing of it is kept."""
        as_list, load = self.workload.batch_as == "list", in_flight(self.workload)
        together = 1 if as_list else load or 1
        await client.open(1 if as_list else load or _SPARE)

        async def send_group(group: int) -> list[Exchange]:
            numbers = range(-1 - group * together, -1 - (group + 1) * together, -1)
            return await asyncio.gather(*(client.send(self._request(client, number)) for number in numbers))

        groups = math.ceil(self.workload.warmup_requests / (load or 1))
        return await warm_up(send_group, _wire_error, groups=groups, until=self.until, where=self.endpoint.url)

    async def _closed_loop(self, client: WireClient, requests: RequestsAhead) -> None:
        """So many users, each sending its next request when its last has ended; in a ramp they come one after another."""
        numbers = self._numbers()

        async def user(starts_s: float) -> None:
            await asyncio.sleep(starts_s)
            for index in numbers:
                (record,) = await self._send(client, requests.take(), [index], index, time.monotonic_ns())
                if record.error is not None:
                    await asyncio.sleep(_AFTER_FAILURE_S)

        await asyncio.gather(*(user(starts_s) for starts_s in user_starts(self.workload)))

    async def _batches(self, client: WireClient, requests: RequestsAhead) -> None:
        """Groups sent at once, the next when all of the last have ended."""
        numbers = self._numbers()
        for group in itertools.count():
            members = list(itertools.islice(numbers, self.workload.batch_size))
            if not members:
                return
            sent = [members] if self.workload.batch_as == "list" else [[index] for index in members]
            taken = [(requests.take(), indices) for indices in sent]
            now = time.monotonic_ns()
            done = await asyncio.gather(*(self._send(client, request, of, group, now) for request, of in taken))
            if all(record.error is not None for records in done for record in records):
                await asyncio.sleep(_AFTER_FAILURE_S)

    async def _open_loop(self, client: WireClient, requests: RequestsAhead) -> None:
        """Requests leave on schedule, whatever has come back."""
        began = time.monotonic_ns()
        with Timer() as timer:
            async with asyncio.TaskGroup() as tasks:
                for index, at_s in enumerate(self._unless_stalled(arrivals(self.workload, self.seed))):
                    scheduled = began + round(at_s * 1e9)
                    request = requests.take()
                    await timer.until(scheduled)
                    tasks.create_task(self._send(client, request, [index], index, scheduled))

    def _numbers(self) -> Iterator[int]:
        """Indices of the requests to come: so many, or until the time is up."""
        if self.workload.requests is not None:
            return self._unless_stalled(iter(range(self.workload.requests)))
        deadline = time.monotonic() + (self.workload.duration_s or 0)
        return self._unless_stalled(itertools.takewhile(lambda _: time.monotonic() < deadline, itertools.count()))

    def _unless_stalled(self, steps: Iterator[_Step]) -> Iterator[_Step]:
        """A server that hangs is asked nothing more: each request would wait its whole timeout."""
        return itertools.takewhile(lambda _: not self.stalled, steps)

    def _watch_for_stall(self, exchange: Exchange) -> None:
        sent, end = exchange.sent_ns, exchange.end_ns
        if exchange.error is None:
            self.last_end_ns = end or 0
        elif sent is not None and end is not None and end - sent >= self.endpoint.timeout_s * 1e9:
            self.stalled = self.stalled or self.last_end_ns < sent

    async def _send(
        self, client: WireClient, request: bytes, indices: list[int], group: int, scheduled_ns: int
    ) -> list[RequestRecord]:
        """One exchange, and a record for each prompt in it."""
        exchange = await client.send(request)
        self._watch_for_stall(exchange)
        records = [
            RequestRecord(
                request_id=f"{self.seed}-{index}",
                index=index,
                group=group,
                scheduled_ns=scheduled_ns,
                sent_ns=exchange.sent_ns,
                headers_ns=exchange.headers_ns,
                end_ns=exchange.end_ns,
                asked_tokens=answer_length(self.workload, self.seed, index),
                status=exchange.status,
                error=_wire_error(exchange),
            )
            for index in indices
        ]
        if exchange.status == http.HTTPStatus.OK:
            self.backlog.add(records, exchange)
        self.records += records
        for record in records:
            self.on_finished(record)
        return records

    def _count(self) -> int | None:
        """How many HTTP requests there will be, where that is known."""
        if self.workload.requests is None or self.workload.batch_as == "requests":
            return self.workload.requests
        return math.ceil(self.workload.requests / (self.workload.batch_size or 1))

    def _request(self, client: WireClient, number: int) -> bytes:
        """Greedy, streamed, with usage; of fixed length unless the workload stops naturally."""
        prompt: Any = self.prompts[number]
        if self.workload.batch_as == "list":
            size, most = self.workload.batch_size or 1, self.workload.requests or 10**18
            first = number * size
            # Warm-up lists count down, and the last list of all may be short.
            prompt = [self.prompts[index] for index in range(first, min(first + size, most))]
        body = {
            "model": self.endpoint.model,
            "prompt": prompt,
            "max_tokens": answer_length(self.workload, self.seed, number),
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
        if not self.workload.natural_stop:
            body["ignore_eos"] = True
        return client.request("/v1/completions", json.dumps(body).encode())


def _wire_error(exchange: Exchange) -> str | None:
    """What went wrong, as far as it can be told without reading the stream."""
    if exchange.error is not None or exchange.status in {None, http.HTTPStatus.OK}:
        return exchange.error
    return error_of(exchange.status or 0, exchange.body)


@contextlib.asynccontextmanager
async def _aside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run work on the side while the body runs, and end it with that."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def _no_full_collections() -> AsyncIterator[None]:
    """Python's search of all objects for dead cycles would stop the stamping for tens of milliseconds, once many answers wait.

    Young objects are still searched, in about a millisecond, so that what failed requests leave behind does not pile up.
    """
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, middle, 1_000_000)
    try:
        yield
    finally:
        gc.set_threshold(young, middle, old)


def _allow_many_connections() -> None:
    """Many systems allow a process 1,024 open files unless it asks for the rest of what it may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _server_counters(endpoint: Endpoint) -> dict[str, float]:
    """The server's own token counters, where it has them."""
    counters: dict[str, float] = {}
    with contextlib.suppress(httpx.HTTPError, ValueError), endpoint.client() as client:
        answer = client.get("/metrics")
        if answer.status_code == httpx.codes.OK:
            for family in text_string_to_metric_families(answer.text):
                if family.name in {_GENERATED, _PREFIX_HITS}:
                    counters[family.name] = sum(s.value for s in family.samples if s.name.endswith("_total"))
    return counters


def _change(before: dict[str, float], after: dict[str, float], name: str) -> int | None:
    return round(after[name] - before[name]) if name in before and name in after else None
