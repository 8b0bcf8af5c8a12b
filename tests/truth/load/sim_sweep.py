"""A sweep's bracket against servers whose saturation rate is known."""

from __future__ import annotations

import math

import numpy as np

from loadgen.metrics.measuring.measure import measure_records
from loadgen.sweeps.points import Sweep, SweepPoint, judge
from loadgen.sweeps.rate_search import conclude, rates_to_try
from loadgen.workloads.base import Workload
from loadgen.workloads.sweep import SweepLoad
from tests.loadgen.made import trial
from tests.truth.registry import Outcome, Row, simulation
from tests.truth.servers.requests import Server, records_of, some_arrivals, some_server

_BRACKET = "sweep: bracket of the saturation rate"
_CONDITIONS = "slots and batch steps, Poisson or regular arrivals, 2,000 requests a rate"


def _swept(server: Server, sweep: Workload, rng: np.random.Generator) -> Sweep:
    """A sweep as in `prunebench load --workload sweep`, on a simulated server."""
    regular, tried = bool(rng.random() < 1 / 3), list[SweepPoint]()
    search = rates_to_try(sweep)
    rate = next(search)
    while True:
        tried.append(_point(server, sweep, rate, regular, rng))
        try:
            rate = search.send(tried[-1])
        except StopIteration:
            return conclude(sweep, tried, complete=True)


def _point(server: Server, sweep: Workload, rate: float, regular: bool, rng: np.random.Generator) -> SweepPoint:
    load = sweep.at_rate(rate)
    assert load.requests is not None
    arrivals = some_arrivals(rng, rate, load.requests, regular=regular)
    records = records_of(arrivals, server.ends(arrivals, rng))
    measured = trial(0, 1, load=load).model_copy(
        update={"window_start_ns": records[0].scheduled_ns, "window_end_ns": records[-1].scheduled_ns}
    )
    return judge(sweep, "", measured, measure_records(measured, records), p99_takes=368)


@simulation(
    short=2,
    long=150,
    reported=Row(f"{_BRACKET}, reported and at most 15 % wide", _CONDITIONS, "at least 80 %", 0.80),
    held=Row(f"{_BRACKET}, of those that are reported", _CONDITIONS, "at least 90 %", 0.90),
    width=Row(f"{_BRACKET}, width", _CONDITIONS, "at most 0.15", None, 0.15),
)
def sweep_bracket(rng: np.random.Generator) -> Outcome:
    """A sweep that searches its rates, starting at 3 to 50 % of the saturation rate."""
    server = some_server(rng)
    lowest = server.capacity * math.exp(rng.uniform(math.log(0.03), math.log(0.5)))
    found = _swept(server, SweepLoad(name="sweep", rate=lowest, requests=2000), rng).bracket
    narrow = found is not None and found.high / found.low <= 1.15
    if found is None or not narrow:
        return {"reported": False}
    return {"reported": True, "held": found.low <= server.capacity <= found.high, "width": found.high / found.low - 1}
