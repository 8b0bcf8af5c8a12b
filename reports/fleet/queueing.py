"""A serving replica as a queue: requests arrive, their prompts are processed one after another, then all write together.

    wait for a slot -> prefill (the server does nothing else meanwhile) -> decode, one token a step with all others in it

The first token comes with the first step after the prefill. A step with n requests in it takes what `Replica.tables` says of n. That
is continuous batching with prefill first and unmixed; an engine that mixes the two makes others' steps longer instead of stopping
them, for the same work. Every active request advances alike, so time is kept in steps done by each: a request leaves when that has
grown by its output tokens. Exact between events, no time grid.
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
    prefill, and `watts` its mean power, None where energy was not measured. Between levels both are interpolated linearly; above the last there
    is nothing: more requests wait.
    """

    levels: tuple[int, ...]
    steps_s: tuple[float, ...]
    prefill_s_per_token: float
    watts: tuple[float, ...] | None = None
    idle_watts: float | None = None

    @property
    def slots(self) -> int:
        """Requests it takes at a time."""
        return self.levels[-1]

    def tables(self) -> tuple[list[float], list[float] | None]:
        """Seconds a step, and watts, with 0, 1, 2 … `slots` requests; with none a step takes for ever."""
        numbers = np.arange(1, self.slots + 1)
        steps = [math.inf, *np.interp(numbers, self.levels, self.steps_s).tolist()]
        if self.watts is None or self.idle_watts is None:
            return steps, None
        return steps, [self.idle_watts, *np.interp(numbers, self.levels, self.watts).tolist()]


@dataclass(frozen=True)
class Arrivals:
    """Requests in the order they come: seconds between them at rate 1, prompt and output tokens. Scaled, not redrawn."""

    gaps: Floats
    prompt_tokens: Floats
    output_tokens: Floats


@dataclass(frozen=True)
class Served:
    """What became of the requests after the first tenth, which fills the queue; in order of arrival."""

    ttft_s: Floats  # arrival to first token
    tpot_s: Floats  # (end - first token) / (output tokens - 1); nan for one token
    wait_s: Floats  # arrival to the start of its prefill
    e2e_s: Floats
    busy: float  # share of the time in which there was anything to do
    joules_per_request: float | None  # idle times included; None: power was not measured


def poisson_arrivals(requests: int, prompts: Sequence[float], outputs: Sequence[float], seed: int) -> Arrivals:
    """Exponential gaps of mean 1; lengths are taken in turn."""
    gaps = np.random.default_rng(seed).exponential(size=requests)
    return Arrivals(
        gaps, np.resize(np.asarray(prompts, float), requests), np.resize(np.asarray(outputs, float), requests)
    )


def simulate(replica: Replica, arrivals: Arrivals, rate: float) -> Served:
    """Serve the arrivals at `rate` requests per second, to the last one's end."""
    came = np.cumsum(arrivals.gaps / rate)
    times = _serve(replica, arrivals, came)
    kept = slice(len(came) // 10, None)
    after_first = arrivals.output_tokens[kept] - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        tpot = np.where(after_first > 0, (times.ended - times.first)[kept] / after_first, np.nan)
    return Served(
        ttft_s=(times.first - came)[kept],
        tpot_s=tpot,
        wait_s=(times.begun - came)[kept],
        e2e_s=(times.ended - came)[kept],
        busy=1 - times.idle_s / float(times.ended.max()),
        joules_per_request=None if times.joules is None else times.joules / len(after_first),
    )


def saturated_rate(replica: Replica, arrivals: Arrivals) -> float:
    """Requests per second while none of the slots is ever free: at any rate above it the backlog grows without end.

    Whole generations of as many requests as there are slots are counted, so that those which end together do not tilt it.
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


def _serve(replica: Replica, arrivals: Arrivals, came: Floats) -> _Times:
    steps, watts = replica.tables()
    count = len(came)
    begun, first, ended = np.zeros(count), np.zeros(count), np.zeros(count)
    measured_from = float(came[count // 10])
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
            while upcoming < count and came[upcoming] <= end:
                waiting.append(upcoming)
                upcoming += 1
            pass_time(end, decoding + 1, decodes=False)
            decoding += 1
            heapq.heappush(marks, (done + 1, request, False))
            continue
        marked = now + (marks[0][0] - done) * steps[decoding] if marks else math.inf
        arrives = float(came[upcoming]) if upcoming < count else math.inf
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
