"""The fleet's capacity, planned from closed loops on a server with continuous batching, against that server's stability limit."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from reports.fleet.fleet import demanded, planned
from reports.fleet.replicas import Lengths, Level, replica_of
from reports.runs.fleet_plan import Demand
from tests.truth.registry import Outcome, Row, simulation
from tests.truth.servers.batching import Draw, Engine, generations, saturated_rate, serve

BLOCKS = 3
NOISE = 0.01  # of every figure of every trial
_SETTINGS = (
    "batching with chunked prefill at random (lengths, step times, token budget, max_num_seqs), limited to the highest level measured; "
    "loops of 1, 2, 4 … in 3 blocks, 1 % noise; the demand's lengths are those measured"
)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def engine_at_random(rng: np.random.Generator) -> Engine:
    a = _between(rng, 3e-3, 3e-2)
    return Engine(
        a=a,
        b=_between(rng, 2e-5, 5e-4),
        c=_between(rng, 1e-5, 2e-4),
        budget=int(rng.choice([512, 1024, 2048, 4096, 8192])),
        slots=int(rng.choice([4, 8, 16, 32, 64, 128])),
        idle_watts=_between(rng, 50, 120),
        busy_watts=_between(rng, 150, 400),
        decode_joules=_between(rng, 1e-3, 3e-2),
        prefill_joules=_between(rng, 1e-3, 2e-2),
    )


def _tokens(rng: np.random.Generator, mean: int, kind: str) -> tuple[int | str, Callable[[], int]]:
    """Lengths for the plan, and the same lengths drawn here."""
    if kind == "fixed":
        return mean, lambda: mean
    if kind == "uniform":
        low, high = max(1, mean // 2), mean + mean // 2
        return f"uniform:{low}-{high}", lambda: int(rng.integers(low, high + 1))
    variance = math.log1p(0.6**2)
    centre = math.log(mean) - variance / 2
    return f"lognormal:{mean},{0.6 * mean:.3f}", lambda: max(1, round(rng.lognormal(centre, math.sqrt(variance))))


def _measured(engine: Engine, draw: Draw, in_flight: int) -> Level:
    """One closed loop's figures without noise, as a run measures them."""
    log = serve(engine, draw, max(25 * in_flight, 300), in_flight=in_flight)
    start, end = generations(log, in_flight)
    inside = [r for r in log.order if start < log.ended[r] <= end]
    outputs = sum(log.output[r] for r in inside)
    return Level(
        in_flight=in_flight,
        lengths=Lengths(sum(log.prompt[r] for r in inside) / len(inside), outputs / len(inside)),
        requests_per_s=len(inside) / (end - start),
        ttft_s=float(np.mean([log.first[r] - log.sent[r] for r in inside])),
        tpot_s=float(
            np.median([(log.ended[r] - log.first[r]) / (log.output[r] - 1) for r in inside if log.output[r] > 1])
        ),
        watts=log.joules_between(start, end) / (end - start),
    )


def _noisy(rng: np.random.Generator, level: Level) -> Level:
    rate, ttft, tpot, watts = 1 + NOISE * rng.normal(size=4)
    return Level(
        level.in_flight, level.lengths, level.requests_per_s * rate, level.ttft_s * ttft, level.tpot_s * tpot,
        (level.watts or 0.0) * watts,
    )  # fmt: skip


def _planned_over_true(rng: np.random.Generator, factor: float) -> tuple[float, float]:
    """The plan's capacity, and joules per request at half of it, over the truth; the demand's mean lengths are off by up to `factor`."""
    engine = engine_at_random(rng)
    prompt, output = int(_between(rng, 32, 4000)), int(_between(rng, 16, 512))
    kinds = rng.choice(["fixed", "uniform", "lognormal"], 2)
    draws = [_tokens(rng, mean, kind)[1] for mean, kind in zip((prompt, output), kinds, strict=True)]
    levels = [2**n for n in range(engine.slots.bit_length())]
    top = levels[-1] if rng.random() < 0.7 else levels[-2]  # what was measured may end below what the server could hold
    loops = [_measured(engine, lambda: (draws[0](), draws[1]()), n) for n in levels if n <= top]
    wanted = [max(8, round(mean * _between(rng, 1 / factor, factor))) for mean in (prompt, output)]
    named = [_tokens(rng, mean, kind) for mean, kind in zip(wanted, kinds, strict=True)]
    demand = Demand(
        requests_per_day=1e6, prompt_tokens=named[0][0], output_tokens=named[1][0], seed=int(rng.integers(1 << 30))
    )
    arrivals = demanded(demand)
    lengths = Lengths(float(arrivals.prompt_tokens.mean()), float(arrivals.output_tokens.mean()))
    found = [
        planned(replica_of([_noisy(rng, level) for level in loops], lengths, engine.idle_watts), arrivals, demand)
        for _ in range(BLOCKS)
    ]
    capacity, joules = (
        math.exp(np.mean([math.log(block[key] or 0.0) for block in found])) for key in ("capacity", "joules")
    )
    limited = Engine(**{**vars(engine), "slots": top})
    draw = lambda: (named[0][1](), named[1][1]())  # noqa: E731
    truth = saturated_rate(limited, draw, max(4000, 60 * top))
    log = serve(limited, draw, 2000, rate=demand.mean_rate / math.ceil(2 * demand.mean_rate / capacity), rng=rng)
    spent = log.joules_between(log.sent[200], log.sent[1999]) / 1800
    return capacity / truth, joules / spent


_CAPACITY = "fleet plan: capacity of a replica, from closed loops alone"
_JOULES = "fleet plan: J/request at half the capacity"
_UNLIKE = "the same; the demand's mean lengths are up to twice or half the measured ones"


@simulation(
    short=6,
    long=200,
    within=Row(_CAPACITY, _SETTINGS, "0 to 10 % below the limit of stability in 95 %", 0.95),
    above=Row(_CAPACITY, "the same", "never more than 2 % above it", at_most=0.0),
    joules=Row(_JOULES, "the same", "within 10 % in 95 %", 0.95),
)
def fleet_capacity(rng: np.random.Generator) -> Outcome:
    """The demand has the measured lengths."""
    capacity, joules = _planned_over_true(rng, 1.0)
    return {"within": 0.9 <= capacity <= 1.0, "above": capacity > 1.02, "joules": abs(joules - 1) <= 0.1}


@simulation(
    short=6,
    long=200,
    within=Row(_CAPACITY, _UNLIKE, "0 to 10 % below the limit of stability in 95 %", 0.95),
    above=Row(_CAPACITY, _UNLIKE, "more than 2 % above it in at most 1 %", at_most=0.01),
    joules=Row(_JOULES, _UNLIKE, "within 10 % in 90 %", 0.90),
)
def fleet_capacity_scaled(rng: np.random.Generator) -> Outcome:
    """The demand has other lengths."""
    capacity, joules = _planned_over_true(rng, 2.0)
    return {"within": 0.9 <= capacity <= 1.0, "above": capacity > 1.02, "joules": abs(joules - 1) <= 0.1}
