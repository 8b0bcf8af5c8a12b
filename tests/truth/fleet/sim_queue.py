"""The plan's simulated replica against queues whose waits have a closed form."""

from __future__ import annotations

import math

import numpy as np

from reports.fleet.queueing import Replica, poisson_arrivals, simulate
from tests.truth.registry import Outcome, Row, simulation

REQUESTS = 20_000


def erlang_c(servers: int, load: float) -> float:
    """Share of requests that wait in M/M/c, summed term by term."""
    terms = [load**n / math.factorial(n) for n in range(servers)]
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(terms) + last)


@simulation(
    short=6,
    long=300,
    wait=Row(
        "mean wait of `prunebench plan`'s simulation, over its truth",
        "slots that do not slow each other, exponential lengths (Erlang C), 40 to 70 % busy",
        "1",
        0.95,
        1.05,
    ),
    share=Row(
        "share of requests that wait in it, over its truth",
        "slots that do not slow each other, exponential lengths (Erlang C), 40 to 70 % busy",
        "1",
        0.95,
        1.05,
    ),
)
def plan_queue(rng: np.random.Generator) -> Outcome:
    """M/M/c with a service of 1 s."""
    slots = int(rng.integers(1, 9))
    load = slots * rng.uniform(0.4, 0.7)
    levels = (1, slots) if slots > 1 else (1,)
    replica = Replica(levels=levels, steps_s=(0.01,) * len(levels), prefill_s_per_token=0.0)
    seed = int(rng.integers(2**31))
    served = simulate(replica, poisson_arrivals(REQUESTS, [1.0], 1 + rng.exponential(99.0, REQUESTS), seed), rate=load)
    waits = erlang_c(slots, load)
    return {
        "share": float(np.mean(served.wait_s > 1e-12)) / waits,
        "wait": float(np.mean(served.wait_s)) / (waits / (slots - load)),
    }
