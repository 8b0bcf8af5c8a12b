"""An event simulation of continuous batching with chunked prefill, step by step; it shares nothing with reports/fleet/queueing.py."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Engine:
    """A step takes a + b x decodes + c x prefill tokens seconds; decodes go first, prompts share the rest of the budget.

    Power is `idle_watts`, and while a step runs `busy_watts` and `decode_joules` a decode and `prefill_joules` a token more.
    """

    a: float
    b: float
    c: float
    budget: int  # tokens a step
    slots: int  # max_num_seqs
    idle_watts: float = 0.0
    busy_watts: float = 0.0
    decode_joules: float = 0.0
    prefill_joules: float = 0.0


@dataclass
class Log:
    """Request times in send order, and the server's cumulative joules at the end of each step."""

    sent: list[float]
    first: list[float]
    ended: list[float]
    prompt: list[int]
    output: list[int]
    order: list[int] = field(default_factory=list)  # requests as they ended
    step_end: list[float] = field(default_factory=list)
    joules: list[float] = field(default_factory=list)
    decodes: list[int] = field(default_factory=list)  # in the step that ended then; 0 of a pause

    def joules_between(self, start: float, end: float) -> float:
        """Cumulative joules, linear between step ends."""
        low, high = np.interp([start, end], self.step_end, self.joules)
        return float(high - low)


Draw = Callable[[], tuple[int, int]]  # prompt and output tokens of the next request


def serve(engine: Engine, draw: Draw, requests: int, *, in_flight: int | None = None, rate: float | None = None,
          rng: np.random.Generator | None = None) -> Log:  # fmt: skip
    """Serve `requests` requests: a closed loop of `in_flight`, or Poisson arrivals at `rate`."""
    lengths = [draw() for _ in range(requests)]
    log = Log(
        [math.nan] * requests, [math.nan] * requests, [math.nan] * requests, *map(list, zip(*lengths, strict=True))
    )
    if in_flight is not None:
        arrivals = [0.0] * min(in_flight, requests)
    else:
        assert rng is not None
        assert rate is not None
        arrivals = np.cumsum(rng.exponential(1 / rate, requests)).tolist()
    coming = len(arrivals)
    waiting: deque[int] = deque()
    prefilling: deque[list[int]] = deque()  # [request, prompt tokens left]
    decoding: list[tuple[int, int]] = []  # (step it ends in, request)
    now, step, joules, upcoming, left = 0.0, 0, 0.0, 0, requests
    log.step_end.append(0.0)
    log.joules.append(0.0)
    log.decodes.append(0)
    while left:
        while upcoming < coming and arrivals[upcoming] <= now:
            log.sent[upcoming] = arrivals[upcoming]
            waiting.append(upcoming)
            upcoming += 1
        if not (waiting or prefilling or decoding):
            joules += engine.idle_watts * (arrivals[upcoming] - now)
            now = arrivals[upcoming]
            log.step_end.append(now)
            log.joules.append(joules)
            log.decodes.append(0)
            continue
        decodes = len(decoding)
        room = engine.budget - decodes
        prefilled, through = 0, []
        while prefilling and room:
            part = min(room, prefilling[0][1])
            prefilling[0][1] -= part
            room -= part
            prefilled += part
            if prefilling[0][1]:
                break
            through.append(prefilling.popleft()[0])
        while waiting and room and decodes + len(prefilling) + len(through) < engine.slots:
            request = waiting.popleft()
            part = min(room, log.prompt[request])
            room -= part
            prefilled += part
            if part < log.prompt[request]:
                prefilling.append([request, log.prompt[request] - part])
            else:
                through.append(request)
        seconds = engine.a + engine.b * decodes + engine.c * prefilled
        joules += engine.busy_watts * seconds + engine.decode_joules * decodes + engine.prefill_joules * prefilled
        now += seconds
        step += 1
        log.step_end.append(now)
        log.joules.append(joules)
        log.decodes.append(decodes)
        gone = []
        while decoding and decoding[0][0] == step:
            gone.append(heapq.heappop(decoding)[1])
        for request in through:
            log.first[request] = now
            if log.output[request] == 1:
                gone.append(request)
            else:
                heapq.heappush(decoding, (step + log.output[request] - 1, request))
        for request in gone:
            log.ended[request] = now
            log.order.append(request)
            left -= 1
            if in_flight is not None and coming < requests:
                arrivals.append(now)
                coming += 1
    return log


def saturated_rate(engine: Engine, draw: Draw, requests: int) -> float:
    """The saturation rate: requests/s of a server with a permanent queue. Backlogs grow above it and not below."""
    log = serve(engine, draw, requests, in_flight=engine.slots)
    start, end = generations(log, engine.slots)
    return sum(start < log.ended[r] <= end for r in log.order) / (end - start)


def generations(log: Log, in_flight: int) -> tuple[float, float]:
    """The window from the first generation's end to the last during which the loop was full; it counts ends in (start, end]."""
    whole = (len(log.order) - in_flight) // in_flight
    return log.ended[log.order[in_flight - 1]], log.ended[log.order[whole * in_flight - 1]]
