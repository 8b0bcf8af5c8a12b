"""Intervals on percentiles, against servers with queues.

Queues are simulated event by event. The truth is the percentile of the long-run distribution: in closed form for M/M/1
(sojourn times are exponential), otherwise from a simulation a thousand times as long as a block. Whatever a block shares is a
factor on its times, so that the truth is that of a block with factor 1. A row counts the runs in which an interval is given.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import stats

from reports.statistics.block_percentiles import percentiles_over
from tests.truth.registry import Outcome, Row, Simulation, covers, inside, register, simulation

WANTED = (50, 90, 95, 99)
BURN_IN = 1000  # requests until a queue at 90 % load has forgotten that it began empty
SHORT_BURN_IN = 200  # the same of servers that forget faster

Times = np.ndarray
Server = Callable[[np.random.Generator, int], Times]
"""Sojourn times in order of arrival, from a generator and a number of requests."""


def one_queue(rng: np.random.Generator, services: Times, load: float) -> Times:
    """One server, Poisson arrivals, first come first served (Lindley); services have a mean of 1."""
    gaps = rng.exponential(1 / load, len(services))
    work = np.concatenate([[0.0], np.cumsum(services[:-1] - gaps[1:])])
    return (work - np.minimum.accumulate(work) + services)[BURN_IN:]


def memoryless(load: float) -> Server:
    """M/M/1."""
    return lambda rng, n: one_queue(rng, rng.exponential(1, n + BURN_IN), load)


def unlike(load: float) -> Server:
    """M/G/1: service times lognormal, as spread out as their mean."""
    spread = math.sqrt(math.log(2))
    return lambda rng, n: one_queue(rng, rng.lognormal(-(spread**2) / 2, spread, n + BURN_IN), load)


def batches(load: float) -> Server:
    """A batching server: it takes up to 8 waiting requests; a batch of k takes 1 + k/8 seconds ± 5 %."""

    def serve(rng: np.random.Generator, n: int) -> Times:
        arrivals = np.cumsum(rng.exponential(1 / (4 * load), n + SHORT_BURN_IN)).tolist()
        noise = np.exp(rng.normal(0, 0.05, len(arrivals))).tolist()
        took: list[float] = []
        now = 0.0
        while len(took) < len(arrivals):
            first = last = len(took)
            now = max(now, arrivals[first])
            while last < min(first + 8, len(arrivals)) and arrivals[last] <= now:
                last += 1
            now += (1 + (last - first) / 8) * noise[first]
            took += [now - at for at in arrivals[first:last]]
        return np.array(took[SHORT_BURN_IN:])

    return serve


def closed_loop(streams: int) -> Server:
    """A closed loop with four servers; each answer is followed by the next request of its stream."""

    def serve(rng: np.random.Generator, n: int) -> Times:
        slots = [0.0] * 4
        waiting = [0.0] * streams  # when each stream sends next; a heap
        took = []
        for service in rng.lognormal(0, 0.7, n + SHORT_BURN_IN).tolist():
            sent = heapq.heappop(waiting)
            end = max(sent, heapq.heappop(slots)) + service
            heapq.heappush(slots, end)
            heapq.heappush(waiting, end)
            took.append(end - sent)
        return np.array(took[SHORT_BURN_IN:])

    return serve


@lru_cache
def long_run(kind: Callable[[float], Server], setting: float) -> Times:
    """Percentiles of a far longer simulation."""
    values = kind(setting)(np.random.default_rng(5), 400_000)
    return np.percentile(values, WANTED)


def _rows(server: str) -> dict[str, Row]:
    estimator = "percentile of a latency, over blocks"
    conditions = f"{server}; 3 to 8 blocks of 60 to 2,000 requests"
    rows = {f"p{p}": covers(estimator, f"{conditions}; p{p}") for p in WANTED}
    against = "jackknife over halves"
    rows["width"] = Row(
        f"{estimator}: width of its interval over that of the best other valid one ({against})", conditions, "at most 1.3", None, 1.3
    )  # fmt: skip
    return rows


def _outcome(rng: np.random.Generator, server: Server, truths: Times) -> Outcome:
    blocks, n = int(rng.integers(3, 9)), int(math.exp(rng.uniform(math.log(60), math.log(2000))))
    spread = rng.uniform(0, 0.05)
    trials = [server(rng, n) * math.exp(rng.normal(0, spread)) for _ in range(blocks)]
    outcome: dict[str, bool | float] = {}
    widths = []
    for found, truth in zip(percentiles_over(trials, WANTED), truths, strict=True):
        if found.low is None or found.high is None:
            continue
        outcome[f"p{found.percentile:g}"] = bool(found.low <= truth <= found.high)
        widths.append(math.log(found.high / found.low) / _other_width(trials, found.percentile))
    return outcome | ({"width": float(np.mean(widths))} if widths else {})


def _other_width(trials: list[Times], wanted: float) -> float:
    """Coverage of t on logarithms of percentiles, corrected by halving the block."""
    logs = np.log([np.percentile(t, wanted, method="weibull") for t in trials])
    halves = np.log([[np.percentile(h, wanted, method="weibull") for h in np.array_split(t, 2)] for t in trials])
    low, high = stats.t.interval(0.95, len(trials) - 1, scale=stats.sem(2 * logs - halves.mean(axis=1)))
    return float(high - low)


@simulation(short=120, long=5000, **_rows("M/M/1 at 20 to 90 % load"))
def tails_memoryless(rng: np.random.Generator) -> Outcome:
    """A sojourn is exponential with mean 1/(1 - load)."""
    load = rng.uniform(0.2, 0.9)
    return _outcome(rng, memoryless(load), -np.log1p(-np.array(WANTED) / 100) / (1 - load))


def _simulate(name: str, kind: Callable[[float], Server], settings: tuple[float, ...], server: str) -> None:
    def run(rng: np.random.Generator) -> Outcome:
        setting = float(rng.choice(settings))
        return _outcome(rng, kind(setting), long_run(kind, setting))

    register(Simulation(name, _rows(server), run, short=60, long=4000))


_simulate("tails_unlike", unlike, (0.3, 0.6, 0.8), "M/G/1, lognormal service, 30, 60 or 80 % load")
_simulate("tails_batches", batches, (0.4, 0.7), "a server of batches of up to 8, 40 or 70 % load")
_simulate("tails_closed_loop", lambda s: closed_loop(int(s)), (6, 16), "closed loop of 6 or 16 at 4 slots")


@simulation(
    short=400,
    long=10_000,
    covered=covers("percentile of a latency, of this trial", "one trial, none overlapped; p50 to p99"),
)
def tails_this_trial(rng: np.random.Generator) -> Outcome:
    """Independent requests, and a percentile for which their number is just or amply sufficient."""
    wanted = float(rng.choice(WANTED))
    n = int(rng.integers(370, 2000)) if wanted == 99 else int(rng.integers(80, 400))
    values = rng.gamma(2, size=n)
    found = percentiles_over([values], [wanted], overlapped=False)[0]
    return {"covered": inside(stats.gamma.ppf(wanted / 100, 2), found.low, found.high)}
