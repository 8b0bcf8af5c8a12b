"""Windows of closed and open loops against servers whose long-run rates are known in closed form or from a far longer simulation.

Every loop starts empty. What a window cannot undo stays in it: in a loop of equal lengths on a step-level server TTFT takes tens
of generations to settle, because at first all streams send at once; and of unlike lengths the longest have not ended yet.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from energy.records import WindowEnergy
from loadgen.metrics.window import cut_window
from loadgen.records.schema import ClientHealth, Trial
from loadgen.workloads.base import Workload
from loadgen.workloads.closed_loop import ConcurrencyLoad
from loadgen.workloads.open_loop import ConstantLoad, PoissonLoad
from tests.loadgen.made import summary_of
from tests.truth.registry import Outcome, Row, Simulation, rare, register, simulation
from tests.truth.servers.tokens import (
    GAP_S,
    Client,
    Served,
    Slots,
    Steps,
    graded_lengths,
    lognormal_lengths,
    uniform_lengths,
)

Figures = dict[str, float]
Lengths = npt.NDArray[np.int64]

_KEYS = {
    "requests_per_s": "request_throughput",
    "tokens_per_s": "output_throughput",
    "joules_per_request": "joules_per_request",
    "joules_per_token": "joules_per_output_token",
    "tpot_ms": "mean_tpot_ms",
    "e2e_ms": "mean_e2el_ms",
    "ttft_ms": "mean_ttft_ms",
}


def _measured(served: Served, workload: Workload, lanes: int = 1, chunk: int = 1) -> dict[str, Any]:
    """The product's summary of the served load, with joules cut at the window's edges."""
    records = served.records(chunk)
    start, end, rule, generations = cut_window(workload, records, lanes)
    trial = Trial(
        url="", model="", workload=workload, seed=0, window_start_ns=start, window_end_ns=end, window_rule=rule,
        window_rules=2, generations=generations, first_sent_ns=start, last_end_ns=end, started_at="",
        client=ClientHealth(cpu_fraction=None, loop_lag_p99_ms=None, schedule_lag_p99_ms=None),
        energy=WindowEnergy(start_ns=start, end_ns=end, gross_joules=served.joules_between(start / 1e9, end / 1e9)),
    )  # fmt: skip
    return summary_of(trial, records, [])


def _off(summary: dict[str, Any], truth: Figures) -> Figures:
    """The logarithm of each figure over its truth."""
    return {key: math.log(summary[_KEYS[key]] / true) for key, true in truth.items()}


def _loop_of_slots(server: Slots, streams: int, mean: float) -> Figures:
    """In the long run each stream completes a request every prefill + (mean - 1) tokens + gap."""
    busy = server.prefill_s + (mean - 1) * server.token_s
    rate = streams / (busy + GAP_S)
    joules = server.idle / rate + server.active * busy
    return {
        "requests_per_s": rate,
        "tokens_per_s": rate * mean,
        "joules_per_request": joules,
        "joules_per_token": joules / mean,
        "tpot_ms": server.token_s * 1e3,
        "e2e_ms": busy * 1e3,
        "ttft_ms": server.prefill_s * 1e3,
    }


@lru_cache
def _loop_of_steps(kind: str, streams: int) -> tuple[float, float, float]:
    """Tokens/s, J/token and mean TPOT in ms of a loop of 150 generations, without its first and last ten."""
    lengths = _lengths(kind, np.random.default_rng(7), streams, 150 * streams)
    served = Steps().serve(Client.closed(lengths, streams))
    ends = np.array([each[-1] for each in served.tokens])
    start, end = np.sort(ends)[[10 * streams - 1, 140 * streams - 1]]
    inside = [each for each in served.tokens if start < each[-1] <= end]
    tokens = sum(int(((each > start) & (each <= end)).sum()) for each in served.tokens)
    tpot = np.mean([(each[-1] - each[0]) / (len(each) - 1) for each in inside])
    return tokens / (end - start), served.joules_between(start, end) / tokens, float(tpot) * 1e3


def _steps_truth(kind: str, streams: int, mean: float) -> Figures:
    """Requests follow from tokens by the mean length, and E2E by Little's law."""
    tokens, joules, tpot = _loop_of_steps(kind, streams)
    return {
        "requests_per_s": tokens / mean,
        "tokens_per_s": tokens,
        "joules_per_request": joules * mean,
        "joules_per_token": joules,
        "tpot_ms": tpot,
        "e2e_ms": (streams * mean / tokens - GAP_S) * 1e3,
    }


def _lengths(kind: str, rng: np.random.Generator, streams: int, number: int) -> Lengths:
    lengths: Lengths
    if kind == "uniform":
        lengths = uniform_lengths(rng, number)
    elif kind == "lognormal":
        lengths = lognormal_lengths(rng, number)
    elif kind.startswith("staggered"):
        lengths = graded_lengths(int(kind.split()[1]), streams, number)
    else:
        lengths = np.full(number, int(kind.split()[1]))
    return lengths


def _closed(rng: np.random.Generator, kind: str, streams: int, generations: int) -> tuple[dict[str, Any], Figures]:
    """The summary, and the truth of an endless loop with this load's mean lengths."""
    number, lanes = (generations + 2) * streams, int(rng.choice([1, 2, 4]))
    lengths = _lengths(kind, rng, streams, number)
    mean = float(lengths[streams:].mean() if kind.startswith("staggered") else lengths.mean())
    load = ConcurrencyLoad(name="loop", concurrency=streams, requests=number)
    client = Client.closed(lengths, streams, lanes)
    if rng.random() < 0.5:
        server = Slots(prefill_s=rng.uniform(0.02, 0.4), token_s=rng.uniform(0.005, 0.02))
        return _measured(server.serve(client), load, lanes), _loop_of_slots(server, streams, mean)
    return _measured(Steps().serve(client), load, lanes), _steps_truth(kind, streams, mean)


_EQUAL = "closed loops of 4, 8 or 16 generations, 64 or 800 tokens, in lockstep or staggered, independent streams or chunked prefill, 1 to 4 processes"


@simulation(
    short=16,
    long=600,
    within=Row("requests/s, tokens/s, J/request, J/token, mean TPOT and E2E", _EQUAL, "all within 2 %, always", 1.0),
    ttft=Row("mean TTFT", "the same on independent streams", "within 2 %, always", 1.0),
)
def closed_loop(rng: np.random.Generator) -> Outcome:
    """Equal lengths."""
    kind = f"{rng.choice(['lockstep', 'staggered'])} {rng.choice([64, 64, 64, 800])}"
    summary, truth = _closed(rng, kind, int(rng.choice([8, 16])), int(rng.choice([4, 8, 16])))
    off = _off(summary, truth)
    ttft = off.pop("ttft_ms", None)
    found: dict[str, bool | float] = {"within": max(map(abs, off.values())) < math.log(1.02)}
    return found if ttft is None else found | {"ttft": abs(ttft) < math.log(1.02)}


_UNLIKE = "closed loops of 4, 8 or 16 generations, uniform and lognormal lengths, independent streams or chunked prefill, 1 to 4 processes"


def _ratio(estimator: str, low: float = 0.98, high: float = 1.02) -> Row:
    return Row(f"{estimator}, over its truth", _UNLIKE, f"{low:g} to {high:g} on average", low, high)


@simulation(
    short=24,
    long=600,
    requests_per_s=_ratio("requests/s"),
    tokens_per_s=_ratio("output tokens/s"),
    joules_per_request=_ratio("J/request"),
    joules_per_token=_ratio("J/token"),
    tpot_ms=_ratio("mean TPOT"),
    e2e_ms=_ratio("mean E2E", low=0.96),
)
def closed_loop_unlike_lengths(rng: np.random.Generator) -> Outcome:
    """Drawn lengths: a single window is off by chance, so the mean over loads shows the bias."""
    kind = str(rng.choice(["uniform", "lognormal"]))
    summary, truth = _closed(rng, kind, int(rng.choice([16, 32])), int(rng.choice([4, 8, 16])))
    truth.pop("ttft_ms", None)
    return {key: math.exp(off) for key, off in _off(summary, truth).items()}


_OPEN = "open loop of 3,000 requests, 8 to 800 tokens (uniform)"


def _open_loop(rng: np.random.Generator, kind: str, slots: float) -> Outcome:
    """20 requests/s of 4.23 s on average need 85 slots. A server with fewer slots is saturated."""
    server, offered, mean = Slots(0.2, 0.01, slots), 20.0, 404.0
    gaps = rng.exponential(1 / offered, 3000) if kind == "poisson" else np.full(3000, 1 / offered)
    load = (PoissonLoad if kind == "poisson" else ConstantLoad)(name="open", rate=offered, requests=3000)
    served = server.serve(Client.open(uniform_lengths(rng, 3000), 1.0 + np.cumsum(gaps)))
    summary = _measured(served, load, chunk=16)
    busy = server.prefill_s + (mean - 1) * server.token_s
    rate = min(offered, slots / busy)
    joules = server.idle / rate + server.active * busy
    truth = {
        "requests_per_s": rate,
        "tokens_per_s": rate * mean,
        "joules_per_request": joules,
        "joules_per_token": joules / mean,
    }
    return {
        "within": max(map(abs, _off(summary, truth).values())) < math.log(1.06),
        "saturated": summary["saturated"] is True,
    }


def _keeps_up(name: str, kind: str, slots: float, server: str) -> None:
    """Register the simulation of a server that is not saturated."""
    at = f"{_OPEN}, {server}"
    rows = {
        "within": Row("requests/s, tokens/s, J/request and J/token", at, "all within 6 % in at least 95 %", 0.95),
        "saturated": rare("called saturated", at),
    }
    register(Simulation(name, rows, lambda rng: _open_loop(rng, kind, slots), short=6, long=200))


_keeps_up("open_loop_poisson_endless", "poisson", math.inf, "Poisson, no limit")
_keeps_up("open_loop_poisson_slots", "poisson", 110, "Poisson, 110 slots of which 85 are busy")
_keeps_up("open_loop_constant_endless", "constant", math.inf, "evenly spaced, no limit")
_keeps_up("open_loop_constant_slots", "constant", 110, "evenly spaced, 110 slots of which 85 are busy")

_SATURATED = f"{_OPEN}, Poisson, 60 slots for 85"


@simulation(
    short=6,
    long=200,
    within=Row(
        "requests/s, tokens/s, J/request and J/token, saturated", _SATURATED, "all within 6 % in at least 95 %", 0.95
    ),
    saturated=Row("called saturated", _SATURATED, "at least 95 %", 0.95),
)
def open_loop_saturated(rng: np.random.Generator) -> Outcome:
    """A saturated server: every slot is busy after it has filled."""
    return _open_loop(rng, "poisson", 60)
