"""Event simulations of servers whose saturation rate is known in closed form; they share nothing with the product.

Each takes times of arrival and says when each request ends, first come, first served.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from loadgen.records.schema import RequestRecord

Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Server:
    """`ends(arrivals, rng)` returns the end times of requests, s; `capacity` is the long-run limit in requests per second."""

    name: str
    capacity: float
    ends: Callable[[Times, np.random.Generator], Times]


def slots(number: int, draw: Callable[[np.random.Generator, int], Any], mean_s: float, name: str) -> Server:
    """`number` slots with random service times: capacity number / mean. `draw` returns times of mean 1."""

    def ends(arrivals: Times, rng: np.random.Generator) -> Times:
        free = [0.0] * number
        found = np.empty(len(arrivals))
        times = mean_s * draw(rng, len(arrivals))
        for n, (at, time) in enumerate(zip(arrivals.tolist(), times.tolist(), strict=True)):
            found[n] = max(at, free[0]) + time
            heapq.heapreplace(free, found[n])
        return found

    return Server(f"{number} slots, {name}", number / mean_s, ends)


def endless(draw: Callable[[np.random.Generator, int], Any], mean_s: float) -> Server:
    """An unlimited server, which no rate saturates."""
    return Server("no limit", math.inf, lambda at, rng: at + mean_s * draw(rng, len(at)))


def steps(batch: int, prompt: int, chunk: int, lengths: tuple[int, int], token_s: float = 0.001) -> Server:
    """Continuous batching: a step works on every request of the batch, on a chunk of its prompt or on one output token.

    A step takes 10 token times, one for each token that it writes, and 0.05 for each of a prompt. In a full batch a request
    stays ceil(prompt / chunk) + E[length] steps, so that batch / stay requests end a step: by renewal and reward the rate is
    that over the mean time of a step.
    """
    chunks, mean_length = math.ceil(prompt / chunk), sum(lengths) / 2
    per_step = batch / (chunks + mean_length)
    step_s = token_s * (10 + per_step * (mean_length + 0.05 * prompt))

    def ends(arrivals: Times, rng: np.random.Generator) -> Times:
        written = rng.integers(lengths[0], lengths[1] + 1, len(arrivals))
        found = np.empty(len(arrivals))
        running: list[list[int]] = []  # [request, prompt tokens left, output tokens left]
        now, coming = 0.0, 0
        while coming < len(arrivals) or running:
            if not running:
                now = max(now, float(arrivals[coming]))
            while coming < len(arrivals) and len(running) < batch and arrivals[coming] <= now:
                running.append([coming, prompt, int(written[coming])])
                coming += 1
            work = 10.0
            for each in running:
                if each[1]:
                    taken = min(chunk, each[1])
                    each[1] -= taken
                    work += 0.05 * taken
                else:
                    each[2] -= 1
                    work += 1
            now += token_s * work
            for each in running:
                if not each[2]:
                    found[each[0]] = now
            running = [each for each in running if each[2]]
        return found

    return Server(f"steps of {batch}", per_step / step_s, ends)


def exponential(rng: np.random.Generator, number: int) -> Any:
    """Times of mean 1."""
    return rng.exponential(1, number)


def constant(_rng: np.random.Generator, number: int) -> Any:
    """Times of mean 1."""
    return np.ones(number)


def uniform(rng: np.random.Generator, number: int) -> Any:
    """Times of mean 1, as of lengths from 8 to 800."""
    return rng.uniform(8, 800, number) / 404


def lognormal(rng: np.random.Generator, number: int) -> Any:
    """Times of mean 1 with a coefficient of variation of 1."""
    spread = math.sqrt(math.log(2))
    return np.exp(rng.normal(-(spread**2) / 2, spread, number))


def some_server(rng: np.random.Generator) -> Server:
    """A random kind of server, at a random speed."""
    mean_s = float(np.exp(rng.uniform(math.log(0.05), math.log(5))))
    shape = [exponential, constant, uniform, lognormal][rng.integers(4)]
    if rng.random() < 0.3:
        length = int(rng.integers(8, 40))
        prompt, chunk = int(rng.integers(16, 512)), int(rng.choice([64, 128]))
        return steps(int(rng.choice([4, 8, 16])), prompt, chunk, (length, int(rng.choice([1, 3])) * length))
    return slots(int(rng.choice([1, 4, 16, 64])), shape, mean_s, shape.__name__)


def some_arrivals(rng: np.random.Generator, rate: float, number: int, *, regular: bool | None = None) -> Times:
    """Regular or Poisson arrivals; None: regular in one load of three."""
    if regular is None:
        regular = bool(rng.random() < 1 / 3)
    gaps = np.full(number, 1 / rate) if regular else rng.exponential(1 / rate, number)
    return 1.0 + np.cumsum(gaps)


def records_of(arrivals: Times, ends: Times) -> list[RequestRecord]:
    """The client's records, ns, with all tokens at half the service time."""
    found = []
    for index, (at, end) in enumerate(zip(arrivals.tolist(), ends.tolist(), strict=True)):
        at_ns, end_ns = round(at * 1e9), round(end * 1e9)
        first_ns = (at_ns + end_ns) // 2
        found.append(
            RequestRecord(
                str(index),
                index,
                index,
                at_ns,
                sent_ns=at_ns,
                first_token_ns=first_ns,
                last_token_ns=end_ns,
                end_ns=end_ns,
                arrival_ns=[first_ns, end_ns],
                arrival_tokens=[1, 2],
                output_tokens=2,
            )
        )
    return found
