"""What a trial leaves behind: request records, the trial, its summary. `prunebench report` reads nothing else of loadgen.

Times ending in `_ns` are `time.monotonic_ns()` of the load side unless they say otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa
from pydantic import Field, model_validator

from energy.records import Record, WindowEnergy

WorkloadKind = Literal["single", "batch", "concurrency", "constant", "poisson"]
CountedBy = Literal["server-usage", "server-continuous-usage", "chunks"]


class Workload(Record):
    """What load is offered. The same object goes into the experiment file, the trial and the report."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")  # becomes part of a folder's name
    kind: WorkloadKind
    requests: int | None = Field(default=None, ge=1)  # stop after so many measured requests, or
    duration_s: float | None = Field(default=None, gt=0)  # start no request after so long
    batch_size: int | None = Field(default=None, ge=1)  # batch: sent at once, the next group when all are done
    concurrency: int | None = Field(default=None, ge=1)  # concurrency: closed loop, so many in flight
    rate: float | None = Field(default=None, gt=0)  # constant, poisson: requests per second, open loop
    prompt_tokens: int = Field(default=64, ge=1)
    output_tokens: int = Field(default=64, ge=1)
    natural_stop: bool = False  # False: ignore_eos, so that every request writes exactly output_tokens
    warmup_requests: int = Field(default=2, ge=0)  # same shapes, before the window, never recorded in it
    slo_ttft_ms: float | None = Field(default=None, gt=0)
    slo_tpot_ms: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _needs_of_its_kind(self) -> Workload:
        needed = {"batch": "batch_size", "concurrency": "concurrency", "constant": "rate", "poisson": "rate"}.get(
            self.kind
        )
        if needed and getattr(self, needed) is None:
            raise ValueError(f"a {self.kind} workload needs {needed}")
        if (self.requests is None) == (self.duration_s is None):
            raise ValueError("a workload needs exactly one of requests and duration_s")
        return self


@dataclass(slots=True)
class RequestRecord:
    """One request as the client saw it. `None` is 'did not happen', and `error` then says why."""

    request_id: str
    index: int
    group: int  # static batch the request belonged to; the request's own index elsewhere
    scheduled_ns: int
    sent_ns: int | None = None
    headers_ns: int | None = None
    first_token_ns: int | None = None
    last_token_ns: int | None = None
    end_ns: int | None = None
    arrival_ns: list[int] = field(default_factory=list)  # one entry a content chunk
    arrival_tokens: list[int] = field(default_factory=list)  # cumulative output tokens at that chunk
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    counted_by: CountedBy | None = None
    finish_reason: str | None = None
    status: int | None = None
    error: str | None = None


REQUEST_SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("index", pa.int64()),
        ("group", pa.int64()),
        ("scheduled_ns", pa.int64()),
        ("sent_ns", pa.int64()),
        ("headers_ns", pa.int64()),
        ("first_token_ns", pa.int64()),
        ("last_token_ns", pa.int64()),
        ("end_ns", pa.int64()),
        ("arrival_ns", pa.list_(pa.int64())),
        ("arrival_tokens", pa.list_(pa.int32())),
        ("prompt_tokens", pa.int32()),
        ("output_tokens", pa.int32()),
        ("counted_by", pa.string()),
        ("finish_reason", pa.string()),
        ("status", pa.int32()),
        ("error", pa.string()),
    ]
)


class ClientHealth(Record):
    """Whether the client itself kept up: what the client-saturated and schedule-lag checks read."""

    cpu_fraction: float | None  # of one core, over the window
    loop_lag_p99_ms: float | None  # how late the client's own timer fired
    schedule_lag_p99_ms: float | None  # sent - scheduled, open loop only


class Trial(Record):
    """`trial.json`: one measured repetition of a workload on a configuration."""

    schema_version: Literal[1] = 1
    url: str
    model: str
    workload: Workload
    seed: int
    window_start_ns: int
    window_end_ns: int
    window_rule: Literal["whole", "steady"]  # whole: all measured requests; steady: ramps cut off
    first_sent_ns: int  # of the measured requests: the edges with the ramps
    last_end_ns: int
    started_at: str  # wall clock, ISO 8601 UTC, for people only
    client: ClientHealth
    energy: WindowEnergy
    server_prefix_hit_tokens: int | None = None  # change of the server's counter over the trial; None: not offered
    server_generated_tokens: int | None = None


class Flag(Record):
    """One validity rule that warned or failed, by its documented name."""

    check: str
    outcome: Literal["warn", "fail"]
    reason: str
