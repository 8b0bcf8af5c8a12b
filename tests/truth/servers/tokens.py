"""Event simulations of servers that write tokens and draw power, under closed and open loops; they share nothing with the product."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from loadgen.records.schema import RequestRecord

Floats = npt.NDArray[np.float64]
GAP_S = 0.0005  # from the end of a request to the sending of the next
PROMPT = 200  # tokens


@dataclass
class Client:
    """Requests in the order in which they are due, s. A closed loop adds one where one ends, as long as its lane has any.

    `lanes` processes share a loop: requests and streams l, l + lanes, … are of lane l.
    """

    lengths: npt.NDArray[np.int64]
    due: list[tuple[float, int]]
    lanes: int = 1
    left: list[Iterator[int]] = field(default_factory=list)

    @classmethod
    def closed(cls, lengths: npt.NDArray[np.int64], streams: int, lanes: int = 1) -> Client:
        """A closed loop of `streams`, which all send at the same time at first."""
        left = [iter(range(lane, len(lengths), lanes)) for lane in range(lanes)]
        return cls(lengths, [(1.0, next(left[stream % lanes])) for stream in range(streams)], lanes, left)

    @classmethod
    def open(cls, lengths: npt.NDArray[np.int64], arrivals: Floats) -> Client:
        """Requests sent by a schedule."""
        return cls(lengths, list(zip(arrivals.tolist(), range(len(arrivals)), strict=True)))

    def ended(self, index: int, at: float) -> None:
        """Send the next request of the same lane."""
        following = next(self.left[index % self.lanes], None) if self.left else None
        if following is not None:
            heapq.heappush(self.due, (at + GAP_S, following))


@dataclass(frozen=True)
class Served:
    """The history: send and token times of each request, s, and the cumulative joules at each of `times`."""

    sent: Floats
    tokens: list[Floats]
    times: Floats
    joules: Floats

    def joules_between(self, start: float, end: float) -> float:
        """Joules of an interval of time."""
        spent: float = np.diff(np.interp([start, end], self.times, self.joules))[0]
        return spent

    def records(self, chunk: int = 1) -> list[RequestRecord]:
        """The client's records, ns, for chunks of that number of tokens: the first token alone, the rest in the last chunk."""
        found = []
        for index, (sent, tokens) in enumerate(zip(self.sent.tolist(), self.tokens, strict=True)):
            count, sent_ns = len(tokens), round(sent * 1e9)
            counts = [*range(1, count, chunk), count]
            at = np.round(tokens[np.array(counts) - 1] * 1e9).astype(np.int64).tolist()
            found.append(
                RequestRecord(
                    str(index), index, index, sent_ns, sent_ns, sent_ns, at[0], at[-1], at[-1], at,
                    counts, count, PROMPT, count, counted_by="server-usage", finish_reason="length", status=200,
                )
            )  # fmt: skip
        return found


@dataclass(frozen=True)
class Slots:
    """`number` slots (inf: unlimited), first come, first served; each request's speed is independent of the others.

    Power is `idle` W and `active` W for each request from its start to its end.
    """

    prefill_s: float
    token_s: float
    number: float = math.inf
    idle: float = 60.0
    active: float = 10.0

    def serve(self, client: Client) -> Served:
        """Derive each request's times from its arrival and the first free slot."""
        count = len(client.lengths)
        sent, begun, tokens = np.empty(count), np.empty(count), [np.empty(0)] * count
        free = [0.0] * int(self.number) if math.isfinite(self.number) else None
        ending: list[tuple[float, int]] = []
        heapq.heapify(client.due)
        while client.due or ending:
            if ending and (not client.due or ending[0] <= client.due[0]):
                end, index = heapq.heappop(ending)
                client.ended(index, end)
                continue
            at, index = heapq.heappop(client.due)
            start = at if free is None else max(at, free[0])
            sent[index], begun[index] = at, start
            tokens[index] = start + self.prefill_s + self.token_s * np.arange(client.lengths[index])
            end = float(tokens[index][-1])
            if free is not None:
                heapq.heapreplace(free, end)
            heapq.heappush(ending, (end, index))
        ended = np.array([each[-1] for each in tokens])
        times = np.concatenate([[0.0], begun, ended])
        change = np.concatenate([[0.0], np.ones(count), -np.ones(count)])
        order = np.argsort(times, kind="stable")
        watts = self.idle + self.active * np.cumsum(change[order])
        spent = np.concatenate([[0.0], np.cumsum(np.diff(times[order]) * watts[:-1])])
        return Served(sent, tokens, times[order], spent)


@dataclass(frozen=True)
class Steps:
    """Continuous batching with chunked prefill: a step writes a token for every request that is past its prompt, and works on
    at most `chunk` tokens of the prompts of the others, first come, first served.

    A step takes `base_s`, `token_s` for each token that it writes and `prompt_s` for each of a prompt; its power is `idle` W
    and `watts` times the share of its time that is not `base_s`, and `busy` W. Between steps it is `idle`.
    """

    batch: int = 64
    chunk: int = 128
    base_s: float = 0.008
    token_s: float = 0.0002
    prompt_s: float = 0.0001
    idle: float = 60.0
    busy: float = 100.0
    watts: float = 150.0

    def serve(self, client: Client) -> Served:
        """Simulate step by step; requests that arrive during a step wait for the next."""
        count = len(client.lengths)
        sent, tokens = np.empty(count), [list[float]() for _ in range(count)]
        prompts, lengths = [PROMPT] * count, client.lengths.tolist()
        waiting, running = list[int](), list[int]()
        times, spent, now = [0.0], [0.0], 0.0
        heapq.heapify(client.due)
        while client.due or waiting or running:
            if not (waiting or running):
                now = max(now, client.due[0][0])
                times.append(now)
                spent.append(spent[-1] + self.idle * (now - times[-2]))
            while client.due and client.due[0][0] <= now and len(waiting) + len(running) < self.batch:
                at, index = heapq.heappop(client.due)
                sent[index] = at
                waiting.append(index)
            left, writing = self.chunk, list(running)
            while waiting and left:
                taken = min(left, prompts[waiting[0]])
                prompts[waiting[0]] -= taken
                left -= taken
                if not prompts[waiting[0]]:
                    writing.append(waiting.pop(0))
            work = self.token_s * len(writing) + self.prompt_s * (self.chunk - left)
            took = self.base_s + work
            now += took
            times.append(now)
            spent.append(spent[-1] + took * (self.idle + self.busy) + self.watts * work)
            running = []
            for index in writing:
                tokens[index].append(now)
                if len(tokens[index]) < lengths[index]:
                    running.append(index)
                else:
                    client.ended(index, now)
        return Served(sent, [np.array(each) for each in tokens], np.array(times), np.array(spent))


def uniform_lengths(rng: np.random.Generator, number: int) -> Any:
    """Mean 404, from 8 to 800."""
    return rng.integers(8, 801, number)


def lognormal_lengths(rng: np.random.Generator, number: int) -> Any:
    """Mean about 200 with a coefficient of variation of 0.8."""
    spread = math.sqrt(math.log(1 + 0.8**2))
    return np.maximum(2, np.round(np.exp(rng.normal(math.log(200) - spread**2 / 2, spread, number)))).astype(np.int64)


def graded_lengths(length: int, streams: int, number: int) -> Any:
    """Equal lengths except the first of each stream, which are graded, so that the loop stays staggered."""
    first = [math.ceil(length * (stream + 1) / streams) for stream in range(streams)]
    return np.array(list(itertools.islice(itertools.chain(first, itertools.repeat(length)), number)))
