"""The messages between the process that measures and the one that started it, in order."""

from __future__ import annotations

from dataclasses import dataclass

from loadgen.endpoint import Endpoint
from loadgen.link.client_watch import ClientWatch
from loadgen.prompts.base import Prompts
from loadgen.records.schema import WarmUp
from loadgen.workloads.base import Workload


@dataclass(frozen=True)
class Steadiness:
    """When a warm-up may end: no more than `within` of change, or after `limit_s` seconds."""

    within: float = 0.05
    limit_s: float = 60.0


@dataclass(frozen=True)
class Job:
    """The work of one client process."""

    endpoint: Endpoint
    workload: Workload
    prompts: Prompts
    seed: int
    until: Steadiness | None = None
    lane: int = 0
    lanes: int = 1


@dataclass(frozen=True)
class Ready:
    """The warm-up has ended; an error means that the load is not started."""

    warmup: WarmUp | None
    error: str | None = None


@dataclass(frozen=True)
class Part:
    """A part of an answer: arrays of int64 as bytes (see `exchange.Exchange`), and the body's bytes.

    `indices` are the requests it answers: several where the prompt was a list.
    """

    indices: tuple[int, ...]
    at_ns: bytes
    lag_ns: bytes
    ends: bytes
    body: bytes


@dataclass(frozen=True)
class Ended:
    """A request has ended; `rest` is the part of its answer that was not sent before."""

    indices: tuple[int, ...]
    group: int
    scheduled_ns: int
    sent_ns: int | None
    headers_ns: int | None
    end_ns: int | None
    status: int | None
    error: str | None
    rest: Part
    turn: int | None = None  # of a session
    send_back: bool = False  # what was read of the answer, as `Said`


@dataclass(frozen=True)
class Said:
    """What a session's turn was answered with, back to the process that sends the next: a message as JSON; None: it failed."""

    index: int
    message: bytes | None
    calls: tuple[str, ...] = ()  # the ids of the calls of tools in it, which are to be answered


@dataclass(frozen=True)
class Stop:
    """Send nothing more: the load ends with what is in flight."""


@dataclass(frozen=True)
class Finished:
    """The load has ended. `stalled`: early, since a request waited its whole timeout and no other ended meanwhile."""

    watch: ClientWatch
    stalled: bool
