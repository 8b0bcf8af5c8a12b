"""The backlog's test for a trend against servers whose capacity is known."""

from __future__ import annotations

import numpy as np

from loadgen.metrics.backlog import Backlog, backlog_trend, filled_ns
from tests.truth.registry import Outcome, Row, rare, simulation
from tests.truth.servers.requests import Server, endless, lognormal, records_of, some_arrivals, some_server, uniform

_TEST = "stationary backlog"


def _judged(server: Server, rate: float, number: int, rng: np.random.Generator) -> Backlog:
    """From the time the server has filled to the last send."""
    arrivals = some_arrivals(rng, rate, number)
    records = records_of(arrivals, server.ends(arrivals, rng))
    start, end = filled_ns(records), records[-1].scheduled_ns
    return backlog_trend(records, end if start is None else start, end)


@simulation(
    short=40,
    long=2000,
    growing=rare(f"{_TEST}: called growing", "slots and batch steps at 30 to 90 % of capacity, 300 to 3,000 requests"),
    trend=rare(f"{_TEST}: called not stationary", "slots and batch steps at 30 to 90 % of capacity, 300 to 3,000 requests"),
)  # fmt: skip
def backlog_stationary(rng: np.random.Generator) -> Outcome:
    """A server that keeps up."""
    server, number = some_server(rng), int(np.exp(rng.uniform(np.log(300), np.log(3000))))
    found = _judged(server, rng.uniform(0.3, 0.9) * server.capacity, number, rng)
    return {"growing": found.growing, "trend": found.stationary is False}


@simulation(
    short=40,
    long=2000,
    growing=rare(f"{_TEST}: called growing", "unlimited server, uniform and lognormal lengths, 100 to 3,000 requests"),
)  # fmt: skip
def backlog_endless(rng: np.random.Generator) -> Outcome:
    """A server that never saturates: 1 to 100 requests in flight."""
    number = int(np.exp(rng.uniform(np.log(100), np.log(3000))))
    server = endless([uniform, lognormal][rng.integers(2)], float(np.exp(rng.uniform(0, np.log(100)))))
    return {"growing": _judged(server, 1.0, number, rng).growing}


@simulation(
    short=12,
    long=500,
    ten=Row(f"{_TEST}: growth seen", "10 % above capacity, 3,000 requests", "at least 90 %", 0.90),
    five=Row(f"{_TEST}: growth seen", "5 % above capacity, 9,000 requests", "at least 90 %", 0.90),
)
def backlog_growing(rng: np.random.Generator) -> Outcome:
    """A server that does not keep up."""
    server = some_server(rng)
    return {
        "ten": _judged(server, 1.1 * server.capacity, 3000, rng).growing,
        "five": _judged(server, 1.05 * server.capacity, 9000, rng).growing,
    }
