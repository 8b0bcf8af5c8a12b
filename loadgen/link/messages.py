"""What the process that measures and the one that started it tell each other, in this order."""

from __future__ import annotations

from dataclasses import dataclass

from loadgen.endpoint import Endpoint
from loadgen.link.client_watch import ClientWatch
from loadgen.prompts.synthetic import Prompts
from loadgen.records.schema import WarmUp
from loadgen.workloads.base import Workload


@dataclass(frozen=True)
class Steadiness:
    """When a warm-up may end: no more than `within` of change, or after `limit_s` seconds."""

    within: float = 0.05
    limit_s: float = 60.0


@dataclass(frozen=True)
class Job:
    """What a client is to do."""

    endpoint: Endpoint
    workload: Workload
    prompts: Prompts
    seed: int
    until: Steadiness | None = None
    lane: int = 0
    lanes: int = 1


@dataclass(frozen=True)
class Ready:
    """The warm-up is over, well or with an error that makes the load pointless."""

    warmup: WarmUp | None
    error: str | None = None


@dataclass(frozen=True)
class Part:
    """Some of an answer: arrays of int64 as bytes (see `wire.Exchange`), and the body's bytes.

    `indices` are the requests it answers: several where the prompt was a list.
    """

    indices: tuple[int, ...]
    at_ns: bytes
    lag_ns: bytes
    ends: bytes
    body: bytes


@dataclass(frozen=True)
class Ended:
    """A request is over; `rest` is what of its answer was not handed on before."""

    indices: tuple[int, ...]
    group: int
    scheduled_ns: int
    sent_ns: int | None
    headers_ns: int | None
    end_ns: int | None
    status: int | None
    error: str | None
    rest: Part


@dataclass(frozen=True)
class Finished:
    """The load is over. `stalled`: it was cut short, since a request waited its whole timeout and nothing ended meanwhile."""

    watch: ClientWatch
    stalled: bool
