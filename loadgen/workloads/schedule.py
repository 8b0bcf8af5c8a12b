"""When requests leave: pure functions of a workload, tested as tables without sleeping."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator

from loadgen.records.schema import Workload
from loadgen.workloads.trace_file import read_trace


def arrivals(workload: Workload, seed: int) -> Iterator[float]:
    """Seconds after the start at which the open-loop requests leave, in order; as many as the workload says.

    constant  evenly spaced, the first at 0
    poisson   exponential gaps with mean 1/rate, so the first is not at 0
    burst     gamma gaps with mean 1/rate and shape `burstiness`, as `vllm bench serve --burstiness` draws them; they are
              not stretched afterwards to end at a round time, which would make them no gamma gaps
    ramp      evenly spaced, or gamma gaps where `burstiness` is given, on a clock that runs as fast as the rate is
    trace     as recorded, `speed` times as fast
    """
    if not workload.open_loop:
        raise ValueError(f"a {workload.kind} workload has no schedule")
    end = math.inf if workload.duration_s is None else workload.duration_s
    return itertools.takewhile(lambda at: at < end, itertools.islice(_endless(workload, seed), workload.requests))


def _endless(workload: Workload, seed: int) -> Iterator[float]:
    if workload.trace is not None:
        return (row.at_s / workload.speed for row in read_trace(workload.trace))
    rate = workload.rate or math.nan
    if workload.kind == "ramp":
        at = _ramp_clock(workload)
        return itertools.takewhile(math.isfinite, map(at, _unit_arrivals(workload.burstiness, seed)))
    if workload.kind == "constant":
        return (n / rate for n in itertools.count())
    if workload.kind == "poisson":
        draw = random.Random(seed)
        return itertools.accumulate(draw.expovariate(rate) for _ in itertools.count())
    return (at / rate for at in _unit_arrivals(workload.burstiness, seed))


def _unit_arrivals(burstiness: float | None, seed: int) -> Iterator[float]:
    """One a second on average: 0, 1, 2 … or with gamma gaps."""
    if burstiness is None:
        return (float(n) for n in itertools.count())
    draw, shape = random.Random(seed), burstiness
    return itertools.accumulate(draw.gammavariate(shape, 1 / shape) for _ in itertools.count())


def _ramp_clock(workload: Workload) -> Callable[[float], float]:
    """From how many requests have been due to when that is: the inverse of the rate's integral; infinite past the ramp.

    Linear: n = rate·t + (end_rate - rate)·t²/2·duration, solved for t in the form that also holds where both rates are one.
    """
    low, high, length = workload.rate or math.nan, workload.end_rate or math.nan, workload.duration_s or math.nan
    if workload.ramp_steps is None:
        slope = (high - low) / length

        def linear(n: float) -> float:
            inside = low * low + 2 * slope * n
            at = 2 * n / (low + math.sqrt(inside)) if inside >= 0 else math.inf
            return at if at <= length else math.inf

        return linear
    steps, each = workload.ramp_steps, length / workload.ramp_steps

    def stepped(n: float) -> float:
        for step in range(steps):
            rate = low + (high - low) * step / (steps - 1)
            if n < rate * each:
                return step * each + n / rate
            n -= rate * each
        return math.inf

    return stepped


def in_flight(workload: Workload) -> int | None:
    """How many requests a closed loop keeps in flight, at most; None for open loops."""
    if workload.open_loop:
        return None
    users = {"single": 1, "batch": workload.batch_size, "concurrency": workload.concurrency}
    return users.get(workload.kind, workload.end_concurrency)


def user_starts(workload: Workload) -> list[float]:
    """Seconds after the start at which each user of a closed loop sends its first request; rising for a ramp."""
    first, last = workload.concurrency or 1, in_flight(workload) or 1
    if workload.kind != "ramp":
        return [0.0] * last
    length, steps = workload.duration_s or math.nan, workload.ramp_steps
    if steps is None:
        return [length * max(0, user - first + 1) / (last - first + 1) for user in range(last)]
    levels = [round(first + (last - first) * step / (steps - 1)) for step in range(steps)]
    return [next(step for step, level in enumerate(levels) if user < level) * length / steps for user in range(last)]
