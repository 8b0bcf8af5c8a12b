"""Offer a workload: send its requests on time, by a schedule or as earlier ones end, and pass the answers on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from loadgen.client.exchange import OK, Exchange, wire_error
from loadgen.client.request_queue import RequestsAhead
from loadgen.client.timer import Timer
from loadgen.client.warmup import warm_up
from loadgen.client.wire import WireClient
from loadgen.link.frames import Outbox
from loadgen.link.messages import Ended, Job, Part, Said
from loadgen.prompts.request_body import asked_tokens, prompt_of, request_body, request_path
from loadgen.records.schema import WarmUp
from loadgen.workloads.base import Workload

AFTER_FAILURE_S = 0.1  # wait of a user whose request has failed: a dead server is not asked a million times
_SPARE = 16  # connections that an open loop opens ahead
_HAND_ON_S = 0.5  # between two hand-ons of unfinished answers
_HANDED_ON = 1000  # of them together: each costs as much as some chunks do
_Step = TypeVar("_Step")
_AT_ONCE = 16  # tasks that resume before sockets are read again


@dataclass(frozen=True)
class Offered:
    """A flow of the load: when its requests leave, and the numbers that they have in the whole."""

    load: Workload
    seed: int
    place: int = 0  # among the flows
    flows: int = 1

    def index(self, n: int) -> int:
        """The number of its n-th request, or group."""
        return self.place + n * self.flows


@dataclass
class Driver:
    """One client's share of a load: the requests whose index leaves the remainder `lane` of `lanes`."""

    job: Job
    client: WireClient
    outbox: Outbox
    start_ns: int = 0
    under_way: dict[tuple[int, ...], Exchange] = field(default_factory=dict)
    awaited: dict[int, asyncio.Future[Said]] = field(default_factory=dict)  # what is sent back, by request
    last_end_ns: int = 0  # of an answer that came to its end
    stalled: bool = False
    stopped: bool = False
    in_flight: int = 0
    offered: asyncio.Future[Any] | None = None  # done when all was sent and has ended
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def turn(self) -> None:
        """Limit how many tasks resume per loop pass, so that reads are not starved.

        Two thousand requests that end together would otherwise keep the client from reading for a third of a second, and the
        chunks of their successors would pile up and share a stamp.
        """
        await self.turns.acquire()
        asyncio.get_running_loop().call_soon(self.turns.release)  # which comes after the next reads

    @property
    def together(self) -> int | None:
        """How many of a closed loop's requests are this client's; None for open loops."""
        whole = self.job.workload.in_flight
        return None if whole is None else len(range(self.job.lane, whole, self.job.lanes))

    async def warm_up(self) -> WarmUp:
        """Send requests of the measured shapes in whole groups, each as large as the load in flight; none is recorded."""
        job, whole = self.job, self.job.workload.in_flight or 1
        mine = 1 if job.workload.sends_lists else max(1, len(range(job.lane, whole, job.lanes)))
        await self.client.open(mine if self.together else _SPARE)

        async def send_group(group: int) -> list[Exchange]:
            numbers = (-1 - job.lane - n * job.lanes for n in range(group * mine, (group + 1) * mine))
            return await asyncio.gather(*(self.client.send(self.request(number)) for number in numbers))

        groups = math.ceil(job.workload.warmup_requests / whole)
        where, body = job.endpoint.url, job.workload.body
        return await warm_up(send_group, wire_error, groups=groups, until=job.until, where=where, body=body)

    def flows(self) -> list[Offered]:
        """The flows of the load."""
        job, flows = self.job, self.job.workload.flows
        seeds = [job.seed if part is None else job.workload.seed_of(job.seed, part) for _, part in flows]
        return [
            Offered(each.load, seed, n, len(flows)) for n, (each, seed) in enumerate(zip(flows, seeds, strict=True))
        ]

    def requests_ahead(self) -> list[RequestsAhead[Any]]:
        """The bytes of this client's requests, of each flow in order."""
        return [self._requests_of(flow) for flow in self.flows()]

    def _requests_of(self, flow: Offered) -> RequestsAhead[bytes]:
        job, count = self.job, flow.load.requests
        if count is not None and flow.load.sends_lists:
            count = math.ceil(count / (flow.load.group_size or 1))
        mine = None if count is None else len(range(job.lane, count, job.lanes))
        return RequestsAhead(lambda n: self.request(flow.index(job.lane + n * job.lanes)), mine, flows=flow.flows)

    async def load(self, requests: Sequence[RequestsAhead[Any]]) -> None:
        """Offer the workload from `start_ns` on, all flows side by side, to its end or until it was stopped."""
        flows = zip(self.flows(), requests, strict=True)
        self.offered = asyncio.gather(*(self._from_start(flow, ahead) for flow, ahead in flows))
        try:
            await self.offered
        except asyncio.CancelledError:
            if not self.stopped:
                raise

    def stop(self) -> None:
        """Send nothing more: `load` ends with what is in flight."""
        self.stopped = True
        self._end_if_over()

    def _end_if_over(self) -> None:
        if self.stopped and not self.in_flight and self.offered is not None:
            self.offered.cancel()

    async def _from_start(self, flow: Offered, requests: RequestsAhead[Any]) -> None:
        with Timer() as timer:
            await timer.until(self.start_ns)
            await self.offer(flow, requests, timer)

    async def offer(self, flow: Offered, requests: RequestsAhead[Any], timer: Timer) -> None:
        """Send all requests of a flow, the first as soon as it is due."""
        if flow.load.open_loop:
            await self._open_loop(flow, requests, timer)
        elif flow.load.group_size is not None:
            await self._batches(flow, requests, flow.load.group_size)
        else:
            await self._closed_loop(flow, requests)

    async def hand_on(self) -> None:
        """Pass unfinished answers on every `_HAND_ON_S`, of very many those whose turn was longest ago; never ends."""
        while True:
            await asyncio.sleep(_HAND_ON_S)
            self.client.clock.check()
            for n, indices in enumerate(list(itertools.islice(self.under_way, _HANDED_ON))):
                exchange = self.under_way.pop(indices, None)
                if exchange is None:
                    continue  # it has ended meanwhile
                self.under_way[indices] = exchange  # behind the others
                if exchange.body and exchange.status == OK:
                    self.outbox.put(Part(indices, *exchange.take()))
                if n % _AT_ONCE == _AT_ONCE - 1:
                    await asyncio.sleep(0)

    def answered(self, said: Said) -> None:
        """Take the message that an answer is from the process that has read it."""
        self.awaited.pop(said.index).set_result(said)

    def request(self, number: int) -> bytes:
        """The bytes of a request."""
        workload = self.job.workload
        prompt = prompt_of(workload, self.job.prompts, number)
        asked = asked_tokens(workload, self.job.seed, number, self.job.prompts.own_length(number))
        body = request_body(self.job.endpoint.model, workload, prompt, asked)
        return self.client.request(request_path(workload, prompt), body)

    async def _closed_loop(self, flow: Offered, requests: RequestsAhead[bytes]) -> None:
        """Users who each send their next request when their last has ended; in a ramp they come or go one after another."""
        numbers = self._numbers(flow)

        async def user(from_s: float, until_s: float) -> None:
            await asyncio.sleep(from_s)
            await self.turn()
            leaves_ns = self.start_ns + until_s * 1e9
            while time.monotonic_ns() < leaves_ns and (n := next(numbers, None)) is not None:
                index = flow.index(n)
                failed, _ = await self.one(requests.take(), (index,), index, time.monotonic_ns())
                if failed:
                    await asyncio.sleep(AFTER_FAILURE_S)

        mine = flow.load.users()[self.job.lane :: self.job.lanes]
        await asyncio.gather(*(user(*times) for times in mine))

    async def _batches(self, flow: Offered, requests: RequestsAhead[bytes], size: int) -> None:
        """Send groups together, the next when all of the last have ended."""
        numbers = self._numbers(flow)
        for group in itertools.count():
            members = tuple(map(flow.index, itertools.islice(numbers, size)))
            if not members:
                return
            sent = [members] if flow.load.sends_lists else [(index,) for index in members]
            taken = [(requests.take(), indices) for indices in sent]
            now = time.monotonic_ns()
            failures = await asyncio.gather(*(self.one(request, of, flow.index(group), now) for request, of in taken))
            if all(failed for failed, _ in failures):
                await asyncio.sleep(AFTER_FAILURE_S)

    async def _open_loop(self, flow: Offered, requests: RequestsAhead[bytes], timer: Timer) -> None:
        """Send requests on schedule, without waiting for answers."""
        async with asyncio.TaskGroup() as tasks:
            for n, at_s in enumerate(self._unless_stalled(flow.load.arrivals(flow.seed))):
                if n % self.job.lanes != self.job.lane:
                    continue
                index, scheduled = flow.index(n), self.start_ns + round(at_s * 1e9)
                request = requests.take()
                await timer.until(scheduled)
                tasks.create_task(self.one(request, (index,), index, scheduled))

    def _numbers(self, flow: Offered) -> Iterator[int]:
        """Numbers of the requests that this client sends in a closed loop: as many as it has, or until the time is up."""
        job, load = self.job, flow.load
        if load.requests is not None:
            return self._unless_stalled(iter(range(job.lane, load.requests, job.lanes)))
        deadline = self.start_ns + round((load.duration_s or 0) * 1e9)
        endless = itertools.count(job.lane, job.lanes)
        return self._unless_stalled(itertools.takewhile(lambda _: time.monotonic_ns() < deadline, endless))

    def _unless_stalled(self, steps: Iterator[_Step]) -> Iterator[_Step]:
        """Stop once the server hangs: each further request would wait its whole timeout."""
        return itertools.takewhile(lambda _: not self.stalled, steps)

    def _watch_for_stall(self, exchange: Exchange) -> None:
        sent, end = exchange.sent_ns, exchange.end_ns
        if exchange.error is None:
            self.last_end_ns = end or 0
        elif sent is not None and end is not None and end - sent >= self.job.endpoint.timeout_s * 1e9:
            self.stalled = self.stalled or self.last_end_ns < sent

    async def one(
        self,
        request: bytes,
        indices: tuple[int, ...],
        group: int,
        scheduled_ns: int,
        *,
        turn: int | None = None,
        send_back: bool = False,
    ) -> tuple[bool, Exchange]:
        """Send one request and pass its answer on. Returns whether it failed, as far as that shows without reading it.

        `send_back`: wait until it has been read, which shows whether it failed, and gives the exchange its `message`.
        """
        if self.stopped:
            await asyncio.Future()  # until `load` ends

        def begun(exchange: Exchange) -> None:
            self.under_way[indices] = exchange

        with self._counted():
            exchange = await self.client.send(request, begun)
            await self.turn()
            self.under_way.pop(indices, None)
            self._watch_for_stall(exchange)
            error = wire_error(exchange)
            rest = Part(indices, *(exchange.take() if exchange.status == OK else (b"",) * 4))
            times = (exchange.sent_ns, exchange.headers_ns, exchange.end_ns)
            send_back = send_back and error is None
            self.outbox.put(Ended(indices, group, scheduled_ns, *times, exchange.status, error, rest, turn, send_back))
            if send_back:
                self.awaited[indices[0]] = asyncio.get_running_loop().create_future()
                said = await self.awaited[indices[0]]
                exchange.message, exchange.calls = said.message, said.calls
                return exchange.message is None, exchange
            return error is not None, exchange

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """While a request is in flight; the last one of a load that was stopped ends it."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            self._end_if_over()
