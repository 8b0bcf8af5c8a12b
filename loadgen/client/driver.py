"""Offer a workload: send its requests on time, by a schedule or as earlier ones end, and pass the answers on."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from loadgen.answers.message import answer_message
from loadgen.client.exchange import OK, Exchange, wire_error
from loadgen.client.request_queue import RequestsAhead
from loadgen.client.timer import Timer
from loadgen.client.warmup import warm_up
from loadgen.client.wire import WireClient
from loadgen.link.frames import Outbox
from loadgen.link.messages import Ended, Job, Part
from loadgen.prompts.request_body import prompt_of, request_body, request_path
from loadgen.prompts.sessions import Message, Sessions, plan_sessions
from loadgen.records.schema import WarmUp
from loadgen.workloads.sessions import SessionsLoad

_AFTER_FAILURE_S = 0.1  # wait of a user whose request has failed: a dead server is not asked a million times
_SPARE = 16  # connections that an open loop opens ahead
_HAND_ON_S = 0.5  # between two hand-ons of unfinished answers
_HANDED_ON = 1000  # of them together: each costs as much as some chunks do
_Step = TypeVar("_Step")
_AT_ONCE = 16  # tasks that resume before sockets are read again


@dataclass
class Driver:
    """One client's share of a load: the requests whose index leaves the remainder `lane` of `lanes`."""

    job: Job
    client: WireClient
    outbox: Outbox
    start_ns: int = 0
    under_way: dict[tuple[int, ...], Exchange] = field(default_factory=dict)
    last_end_ns: int = 0  # of an answer that came to its end
    stalled: bool = False
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
        return await warm_up(send_group, wire_error, groups=groups, until=job.until, where=job.endpoint.url)

    def requests_ahead(self) -> RequestsAhead:
        """The bodies of this client's requests, in order."""
        job, count = self.job, self.job.workload.requests
        if job.workload.holds_sessions:
            return RequestsAhead(self.request, 0)  # what is sent depends on what was answered
        if count is not None and job.workload.sends_lists:
            count = math.ceil(count / (job.workload.group_size or 1))
        mine = None if count is None else len(range(job.lane, count, job.lanes))
        return RequestsAhead(lambda n: self.request(job.lane + n * job.lanes), mine)

    async def load(self, requests: RequestsAhead) -> None:
        """Offer the workload from `start_ns` on."""
        with Timer() as timer:
            await timer.until(self.start_ns)
            if isinstance(self.job.workload, SessionsLoad):
                await self._sessions(self.job.workload, cast("Sessions", self.job.prompts), timer)
            elif self.job.workload.open_loop:
                await self._open_loop(requests, timer)
            elif self.job.workload.group_size is not None:
                await self._batches(requests, self.job.workload.group_size)
            else:
                await self._closed_loop(requests)

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
                if exchange.came and exchange.status == OK:
                    self.outbox.put(Part(indices, *exchange.take()))
                if n % _AT_ONCE == _AT_ONCE - 1:
                    await asyncio.sleep(0)

    def request(self, number: int) -> bytes:
        """The bytes of a request."""
        return self._bytes(prompt_of(self.job.workload, self.job.prompts, number), number)

    def _bytes(self, prompt: Any, number: int) -> bytes:
        workload = self.job.workload
        asked = workload.answer_length(self.job.seed, number)
        body = request_body(self.job.endpoint.model, workload, prompt, asked)
        return self.client.request(request_path(workload, prompt), body)

    async def _closed_loop(self, requests: RequestsAhead) -> None:
        """Users who each send their next request when their last has ended; in a ramp they come or go one after another."""
        numbers = self._numbers()

        async def user(from_s: float, until_s: float) -> None:
            await asyncio.sleep(from_s)
            await self.turn()
            leaves_ns = self.start_ns + until_s * 1e9
            while time.monotonic_ns() < leaves_ns and (index := next(numbers, None)) is not None:
                failed, _ = await self._one(requests.take(), (index,), index, time.monotonic_ns())
                if failed:
                    await asyncio.sleep(_AFTER_FAILURE_S)

        mine = self.job.workload.users()[self.job.lane :: self.job.lanes]
        await asyncio.gather(*(user(*times) for times in mine))

    async def _batches(self, requests: RequestsAhead, size: int) -> None:
        """Send groups together, the next when all of the last have ended."""
        numbers = self._numbers()
        for group in itertools.count():
            members = tuple(itertools.islice(numbers, size))
            if not members:
                return
            sent = [members] if self.job.workload.sends_lists else [(index,) for index in members]
            taken = [(requests.take(), indices) for indices in sent]
            now = time.monotonic_ns()
            failures = await asyncio.gather(*(self._one(request, of, group, now) for request, of in taken))
            if all(failed for failed, _ in failures):
                await asyncio.sleep(_AFTER_FAILURE_S)

    async def _open_loop(self, requests: RequestsAhead, timer: Timer) -> None:
        """Send requests on schedule, without waiting for answers."""
        async with asyncio.TaskGroup() as tasks:
            for index, at_s in enumerate(self._unless_stalled(self.job.workload.arrivals(self.job.seed))):
                if index % self.job.lanes != self.job.lane:
                    continue
                scheduled = self.start_ns + round(at_s * 1e9)
                request = requests.take()
                await timer.until(scheduled)
                tasks.create_task(self._one(request, (index,), index, scheduled))

    async def _sessions(self, workload: SessionsLoad, sessions: Sessions, timer: Timer) -> None:
        """Users who each begin a session when their last has ended, or sessions that begin on schedule."""
        job = self.job
        deadline = math.inf if workload.duration_s is None else self.start_ns + workload.duration_s * 1e9
        planned = self._unless_stalled(plan_sessions(sessions, workload.requests))
        mine = (each for each in planned if each[0] % job.lanes == job.lane)

        async def hold(number: int, first: int, scheduled_ns: int) -> None:
            conversation = sessions.session(number)
            said: list[Message] = []
            ended_ns = 0
            for n, turn in enumerate(conversation.turns):
                if n:
                    scheduled_ns = ended_ns + round(workload.think_s(job.seed, first + n) * 1e9)
                    while (left_ns := scheduled_ns - time.monotonic_ns()) > 0:  # noqa: ASYNC110 - uvloop's timers may fire early
                        await asyncio.sleep(left_ns / 1e9)
                said += turn.asked
                request = self._bytes(conversation.chat(said), first + n)
                failed, exchange = await self._one(request, (first + n,), number, scheduled_ns, turn=n)
                if failed:
                    await asyncio.sleep(_AFTER_FAILURE_S)
                    return
                ended_ns = exchange.end_ns or time.monotonic_ns()
                said += turn.recorded if workload.carry == "recorded" else [answer_message(bytes(exchange.kept or b""))]

        async def user() -> None:
            await self.turn()
            for number, first in itertools.takewhile(lambda _: time.monotonic_ns() < deadline, mine):
                await hold(number, first, time.monotonic_ns())

        if workload.concurrency is not None:
            await asyncio.gather(*(user() for _ in range(self.together or 0)))
            return
        async with asyncio.TaskGroup() as tasks:
            starts = itertools.islice(workload.session_starts(job.seed), job.lane, None, job.lanes)
            for (number, first), at_s in zip(mine, starts, strict=False):
                scheduled_ns = self.start_ns + round(at_s * 1e9)
                if scheduled_ns >= deadline:
                    return
                await timer.until(scheduled_ns)
                tasks.create_task(hold(number, first, scheduled_ns))

    def _numbers(self) -> Iterator[int]:
        """Indices of this client's requests: the workload's number of them, or until the time is up."""
        job = self.job
        if job.workload.requests is not None:
            return self._unless_stalled(iter(range(job.lane, job.workload.requests, job.lanes)))
        deadline = self.start_ns + round((job.workload.duration_s or 0) * 1e9)
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

    async def _one(
        self, request: bytes, indices: tuple[int, ...], group: int, scheduled_ns: int, *, turn: int | None = None
    ) -> tuple[bool, Exchange]:
        """Send one request and pass its answer on. Returns whether it failed, as far as that shows without parsing it.

        The exchange of a session's turn has `kept` the answer.
        """

        def begun(exchange: Exchange) -> None:
            exchange.kept = None if turn is None else bytearray()
            self.under_way[indices] = exchange

        exchange = await self.client.send(request, begun)
        await self.turn()
        self.under_way.pop(indices, None)
        self._watch_for_stall(exchange)
        error = wire_error(exchange)
        rest = Part(indices, *(exchange.take() if exchange.status == OK else (b"",) * 4))
        times = (exchange.sent_ns, exchange.headers_ns, exchange.end_ns)
        self.outbox.put(Ended(indices, group, scheduled_ns, *times, exchange.status, error, rest, turn))
        return error is not None, exchange
