"""One trial: warm up, offer the workload, record every request, meter the window."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
import uvloop
from prometheus_client.parser import text_string_to_metric_families

from energy.records import WindowEnergy
from loadgen.client_health import ClientWatch, watch_client
from loadgen.endpoint import Endpoint, LoadError
from loadgen.metering import EnergySource
from loadgen.prompts import Prompts
from loadgen.records import RequestRecord, Trial, Workload
from loadgen.sse import error_of, read_answer
from loadgen.window import cut_window
from loadgen.wire import Exchange, WireClient
from loadgen.workloads import arrivals, in_flight

_GENERATED, _PREFIX_HITS = "vllm:generation_tokens", "vllm:prefix_cache_hits"


@dataclass(frozen=True)
class TrialResult:
    """A finished trial: what `loadgen.store` writes."""

    trial: Trial
    records: list[RequestRecord]


def run_trial(
    endpoint: Endpoint,
    workload: Workload,
    prompts: Prompts,
    *,
    seed: int,
    energy: EnergySource,
    idle: WindowEnergy | None = None,
    on_finished: Callable[[RequestRecord], None] | None = None,
) -> TrialResult:
    """Measure one trial; blocks until it is over. `on_finished` sees every measured request as it ends.

    Failed requests are records with an error. Raises LoadError if not one request got as far as the server.
    KeyboardInterrupt closes the connections and goes on.
    """
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    driver = _Driver(endpoint, workload, prompts, seed, on_finished or (lambda _: None))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        watch = runner.run(driver.run())
    records = driver.records
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
        client=watch.health(workload, records),
        energy=joules,
        server_prefix_hit_tokens=_change(before, after, _PREFIX_HITS),
        server_generated_tokens=_change(before, after, _GENERATED),
    )
    return TrialResult(trial, records)


@dataclass
class _Driver:
    endpoint: Endpoint
    workload: Workload
    prompts: Prompts
    seed: int
    on_finished: Callable[[RequestRecord], None]
    records: list[RequestRecord] = field(default_factory=list)
    counters_before: dict[str, float] = field(default_factory=dict)  # the server's, when the warm-up was over

    async def run(self) -> ClientWatch:
        async with WireClient(self.endpoint) as client:
            await self._warm_up(client)
            self.counters_before = _server_counters(self.endpoint)
            async with watch_client() as watch:
                if in_flight(self.workload) is None:
                    await self._open_loop(client)
                elif self.workload.kind == "batch":
                    await self._batches(client)
                else:
                    await self._closed_loop(client)
        self.records.sort(key=lambda record: record.index)
        return watch

    async def _warm_up(self, client: WireClient) -> None:
        """The same shapes as will be measured, so many at a time as will be in flight; nothing of it is kept."""
        count = self.workload.warmup_requests
        together = in_flight(self.workload) or 1
        await client.open(min(together, 64))
        for first in range(0, count, together):
            numbers = range(first, min(first + together, count))
            await asyncio.gather(*(client.send(self._request(client, -1 - n)) for n in numbers))

    async def _closed_loop(self, client: WireClient) -> None:
        """So many users, each sending its next request when its last has ended."""
        numbers = self._numbers()

        async def user() -> None:
            for index in numbers:
                await self._one(client, index, index, time.monotonic_ns())

        await asyncio.gather(*(user() for _ in range(in_flight(self.workload) or 1)))

    async def _batches(self, client: WireClient) -> None:
        """Groups sent at once, the next when all of the last have ended."""
        numbers = self._numbers()
        for group in itertools.count():
            members = list(itertools.islice(numbers, self.workload.batch_size))
            if not members:
                return
            now = time.monotonic_ns()
            await asyncio.gather(*(self._one(client, index, group, now) for index in members))

    async def _open_loop(self, client: WireClient) -> None:
        """Requests leave on schedule, whatever has come back."""
        began = time.monotonic_ns()
        async with asyncio.TaskGroup() as tasks:
            for index, at_s in enumerate(arrivals(self.workload, self.seed)):
                scheduled = began + round(at_s * 1e9)
                await asyncio.sleep(max(0.0, (scheduled - time.monotonic_ns()) / 1e9))
                tasks.create_task(self._one(client, index, index, scheduled))

    def _numbers(self) -> Iterator[int]:
        """Indices of the requests to come: so many, or until the time is up."""
        if self.workload.requests is not None:
            return iter(range(self.workload.requests))
        deadline = time.monotonic() + (self.workload.duration_s or 0)
        return itertools.takewhile(lambda _: time.monotonic() < deadline, itertools.count())

    async def _one(self, client: WireClient, index: int, group: int, scheduled_ns: int) -> None:
        exchange = await client.send(self._request(client, index))
        record = _record(exchange, f"{self.seed}-{index}", index, group, scheduled_ns)
        self.records.append(record)
        self.on_finished(record)

    def _request(self, client: WireClient, index: int) -> bytes:
        """Greedy, streamed, with usage; of fixed length unless the workload stops naturally."""
        body = {
            "model": self.endpoint.model,
            "prompt": self.prompts[index],
            "max_tokens": self.workload.output_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
        if not self.workload.natural_stop:
            body["ignore_eos"] = True
        return client.request("/v1/completions", json.dumps(body).encode())


def _record(exchange: Exchange, request_id: str, index: int, group: int, scheduled_ns: int) -> RequestRecord:
    """What came of one request."""
    record = RequestRecord(
        request_id=request_id,
        index=index,
        group=group,
        scheduled_ns=scheduled_ns,
        sent_ns=exchange.sent_ns,
        headers_ns=exchange.headers_ns,
        end_ns=exchange.end_ns,
        status=exchange.status,
        error=exchange.error,
    )
    if exchange.status is not None and exchange.status != httpx.codes.OK:
        record.error = exchange.error or error_of(exchange.status, exchange.body)
        return record
    answer = read_answer(exchange.reads)
    record.arrival_ns, record.arrival_tokens = answer.arrival_ns, answer.arrival_tokens
    record.first_token_ns = answer.arrival_ns[0] if answer.arrival_ns else None
    record.last_token_ns = answer.arrival_ns[-1] if answer.arrival_ns else None
    record.prompt_tokens, record.output_tokens = answer.prompt_tokens, answer.output_tokens
    record.counted_by, record.finish_reason = answer.counted_by, answer.finish_reason
    record.error = exchange.error or answer.error
    if record.error is None and not answer.complete:
        record.error = "the stream ended without [DONE]"
    return record


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
