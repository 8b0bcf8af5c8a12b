"""Hold sessions: each turn is sent when the one before it was answered, with all that was said until then."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Iterator
from typing import NamedTuple, cast

from loadgen.client.driver import AFTER_FAILURE_S, Driver, Offered
from loadgen.client.request_queue import RequestsAhead
from loadgen.client.timer import Timer
from loadgen.prompts.encoded_turns import Carried, EncodedTurn, encode_turns
from loadgen.prompts.request_body import CHAT
from loadgen.prompts.sessions import Sessions, plan_sessions
from loadgen.workloads.sessions import SessionsLoad

_AHEAD = 512  # turns that are encoded ahead, of a file sessions; or as many sessions as are held together


class _Session(NamedTuple):
    number: int
    first: int  # the number of its first request
    turns: list[EncodedTurn]


class SessionsDriver(Driver):
    """One client's share of a load of sessions: those whose number leaves the remainder `lane` of `lanes`."""

    @property
    def workload(self) -> SessionsLoad:
        """The load."""
        return cast("SessionsLoad", self.job.workload)

    def requests_ahead(self) -> list[RequestsAhead[_Session | None]]:
        """The sessions of this client, in order; None behind the last."""
        job, workload, sessions = self.job, self.workload, cast("Sessions", self.job.prompts)
        mine = (each for each in plan_sessions(sessions, None) if each[0] % job.lanes == job.lane)

        def encode_next(_: int) -> _Session | None:
            number, first = next(mine)
            if workload.requests is not None and first >= workload.requests:
                return None
            conversation = sessions.session(number)
            return _Session(number, first, encode_turns(job.endpoint.model, workload, conversation, job.seed, first))

        return [RequestsAhead(encode_next, None, max(_AHEAD // workload.most_turns, self.together or 0))]

    async def offer(self, flow: Offered, requests: RequestsAhead[_Session | None], timer: Timer) -> None:
        """Hold sessions: users who each begin one when their last has ended, or sessions that begin on schedule."""
        job, workload = self.job, cast("SessionsLoad", flow.load)
        deadline = math.inf if workload.duration_s is None else self.start_ns + workload.duration_s * 1e9
        begun = self._begun(requests, deadline)

        async def user() -> None:
            await self.turn()
            for session in begun:
                await self._hold(session, time.monotonic_ns())

        if workload.concurrency is not None:
            await asyncio.gather(*(user() for _ in range(self.together or 0)))
            return
        async with asyncio.TaskGroup() as tasks:
            starts = itertools.islice(workload.session_starts(job.seed), job.lane, None, job.lanes)
            for session, at_s in zip(begun, starts, strict=False):
                scheduled_ns = self.start_ns + round(at_s * 1e9)
                if scheduled_ns >= deadline:
                    return
                await timer.until(scheduled_ns)
                tasks.create_task(self._hold(session, scheduled_ns))

    def _begun(self, requests: RequestsAhead[_Session | None], deadline: float) -> Iterator[_Session]:
        """Sessions to hold, until all turns are shared out, the time is up, or the server hangs."""
        while not self.stalled and time.monotonic_ns() < deadline and (session := requests.take()) is not None:
            yield session

    async def _hold(self, session: _Session, scheduled_ns: int) -> None:
        """One session, turn by turn, until one fails."""
        workload, carried = self.workload, Carried(session.turns, recorded=self.workload.carry == "recorded")
        for turn in range(len(session.turns)):
            index, last = session.first + turn, turn == len(session.turns) - 1
            request = self.client.request(CHAT, carried.body(turn))
            failed, exchange = await self.one(
                request, (index,), session.number, scheduled_ns, turn=turn, send_back=not last
            )
            if failed:
                await asyncio.sleep(AFTER_FAILURE_S)
            if failed or last:
                return
            carried.answer(turn, exchange.message or b"", exchange.calls)
            think_ns = round(workload.think_s(self.job.seed, index + 1) * 1e9)
            scheduled_ns = (exchange.end_ns or time.monotonic_ns()) + think_ns
            while (left_ns := scheduled_ns - time.monotonic_ns()) > 0:  # noqa: ASYNC110 - uvloop's timers may fire early
                await asyncio.sleep(left_ns / 1e9)
