"""When requests leave: pure functions of a workload, tested as tables without sleeping."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator

from loadgen.records import Workload


def arrivals(workload: Workload, seed: int) -> Iterator[float]:
    """Seconds after the start at which the open-loop requests leave, in order; as many as the workload says.

    constant: evenly spaced, the first at 0. poisson: exponential gaps with mean 1/rate, so the first is not at 0.
    """
    rate = workload.rate
    if rate is None:
        raise ValueError(f"a {workload.kind} workload has no schedule")
    if workload.kind == "constant":
        times: Iterator[float] = (n / rate for n in itertools.count())
    else:
        draw = random.Random(seed)
        times = itertools.accumulate(draw.expovariate(rate) for _ in itertools.count())
    if workload.requests is not None:
        return itertools.islice(times, workload.requests)
    return itertools.takewhile(lambda at: at < (workload.duration_s or math.inf), times)


def in_flight(workload: Workload) -> int | None:
    """How many requests a closed loop keeps in flight; None for open loops."""
    return {"single": 1, "batch": workload.batch_size, "concurrency": workload.concurrency}.get(workload.kind)
