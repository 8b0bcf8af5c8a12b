"""A serving replica as a queue: requests arrive, are prefilled one at a time, and decode together.

    wait for a slot -> prefill (decoding pauses) -> decode, one token a step, together with all other active requests

The first token arrives with the first step after the prefill. `Replica.tables` gives the duration of a step with n requests. This is
continuous batching with separate prefill; an engine that mixes the two lengthens the steps of others instead of pausing
them, for the same work. All active requests advance at the same pace, so the clock counts the steps of each: a request leaves after
as many steps as it has output tokens. The simulation is exact between events and has no time grid.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Replica:
    """Measured times and powers of one server.

    `levels` are the numbers of requests at which it was measured, rising; `steps_s` the seconds of a step there without any
    prefill, and `watts` its mean power, None where energy was not measured. Between levels both are interpolated linearly; further requests wait
    above the last level.
    """

    levels: tuple[int, ...]
    steps_s: tuple[float, ...]
    prefill_s_per_token: float
    watts: tuple[float, ...] | None = None
    idle_watts: float | None = None

    @property
    def slots(self) -> int:
        """The number of requests it serves at a time."""
        return self.levels[-1]

    def tables(self) -> tuple[list[float], list[float] | None]:
        """Seconds a step, and watts, with 0, 1, 2 … `slots` requests; a step without requests never ends."""
        numbers = np.arange(1, self.slots + 1)
        steps = [math.inf, *np.interp(numbers, self.levels, self.steps_s).tolist()]
        if self.watts is None or self.idle_watts is None:
            return steps, None
        return steps, [self.idle_watts, *np.interp(numbers, self.levels, self.watts).tolist()]


@dataclass(frozen=True)
class Arrivals:
    """Requests in order of arrival: seconds between them at rate 1, prompt and output tokens. Other rates scale the gaps."""

    gaps: Floats
    prompt_tokens: Floats
    output_tokens: Floats


@dataclass(frozen=True)
class Served:
    """Results of the requests in order of arrival, without the first tenth, which fills the queue."""

    ttft_s: Floats  # arrival to first token
    tpot_s: Floats  # (end - first token) / (output tokens - 1); nan for one token
    wait_s: Floats  # arrival to the start of its prefill
    e2e_s: Floats
    busy: float  # share of the time with any request in the server
    joules_per_request: float | None  # idle times included; None: power was not measured


def poisson_arrivals(requests: int, prompts: Sequence[float], outputs: Sequence[float], seed: int) -> Arrivals:
    """Exponential gaps of mean 1; the lengths repeat in turn."""
    gaps = np.random.default_rng(seed).exponential(size=requests)
    return Arrivals(
        gaps, np.resize(np.asarray(prompts, float), requests), np.resize(np.asarray(outputs, float), requests)
    )


def simulate(replica: Replica, arrivals: Arrivals, rate: float) -> Served:
    """Serve the arrivals at `rate` requests per second, to the end of the last."""
    arrived = np.cumsum(arrivals.gaps / rate)
    times = _serve(replica, arrivals, arrived)
    kept = slice(len(arrived) // 10, None)
    after_first = arrivals.output_tokens[kept] - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        tpot = np.where(after_first > 0, (times.ended - times.first)[kept] / after_first, np.nan)
    return Served(
        ttft_s=(times.first - arrived)[kept],
        tpot_s=tpot,
        wait_s=(times.begun - arrived)[kept],
        e2e_s=(times.ended - arrived)[kept],
        busy=1 - times.idle_s / float(times.ended.max()),
        joules_per_request=None if times.joules is None else times.joules / len(after_first),
    )


def saturated_rate(replica: Replica, arrivals: Arrivals) -> float:
    """Requests per second while all slots are taken: above this rate the backlog grows without limit.

    It counts whole generations of `slots` requests, so that requests that end together do not bias it.
    """
    count, slots = len(arrivals.gaps), replica.slots
    ended = np.sort(_serve(replica, arrivals, np.zeros(count)).ended)
    start, end = ended[slots - 1], ended[(count - slots) // slots * slots - 1]
    return float(((ended > start) & (ended <= end)).sum() / (end - start))


@dataclass(frozen=True)
class _Times:
    begun: Floats  # of the prefill
    first: Floats
    ended: Floats
    idle_s: float
    joules: float | None  # after the arrival of a tenth of the requests


def _serve(replica: Replica, arrivals: Arrivals, arrived: Floats) -> _Times:
    steps, watts = replica.tables()
    count = len(arrived)
    begun, first, ended = np.zeros(count), np.zeros(count), np.zeros(count)
    measured_from = float(arrived[count // 10])
    waiting: deque[int] = deque()
    decoding = 0
    marks: list[tuple[float, int, bool]] = []  # (steps done at a first or last token, request, whether it is the last)
    now = done = joules = idle_s = 0.0
    joules_from: float | None = None
    upcoming = 0

    def pass_time(until: float, power: int, *, decodes: bool) -> None:
        nonlocal now, done, joules, joules_from, idle_s
        if joules_from is None and until >= measured_from:
            joules_from = joules + (watts[power] * (measured_from - now) if watts else 0.0)
        if watts:
            joules += watts[power] * (until - now)
        if decodes:
            done += (until - now) / steps[decoding]
        if power == 0:
            idle_s += until - now
        now = until

    while upcoming < count or waiting or decoding:
        if waiting and decoding < replica.slots:
            request = waiting.popleft()
            begun[request] = now
            end = now + replica.prefill_s_per_token * float(arrivals.prompt_tokens[request])
            while upcoming < count and arrived[upcoming] <= end:
                waiting.append(upcoming)
                upcoming += 1
            pass_time(end, decoding + 1, decodes=False)
            decoding += 1
            heapq.heappush(marks, (done + 1, request, False))
            continue
        marked = now + (marks[0][0] - done) * steps[decoding] if marks else math.inf
        arrives = float(arrived[upcoming]) if upcoming < count else math.inf
        pass_time(min(marked, arrives), decoding, decodes=bool(marks))
        if arrives < marked:
            waiting.append(upcoming)
            upcoming += 1
            continue
        done, request, is_last = heapq.heappop(marks)
        if not is_last:
            first[request] = now
            heapq.heappush(marks, (done + max(float(arrivals.output_tokens[request]) - 1, 0.0), request, True))
        else:
            ended[request] = now
            decoding -= 1
    return _Times(begun, first, ended, idle_s, joules - (joules_from or 0.0) if watts else None)
