"""What a trial leaves behind: request records, the trial, its summary. `prunebench report` reads nothing else of loadgen.

Times ending in `_ns` are `time.monotonic_ns()` of the load side unless they say otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import Field, model_validator

from base.records import Record
from energy.records import WindowEnergy
from loadgen.workloads.lengths import Tokens

WorkloadKind = Literal["single", "batch", "concurrency", "constant", "poisson", "burst", "ramp", "trace", "sweep"]
BatchForm = Literal["requests", "list"]
PromptForm = Literal["ids", "text"]
WindowRules = Literal[1, 2]  # 1: of runs from before closed loops were cut by generations; 2: `loadgen.metrics.window`
WindowRule = Literal["whole", "steady", "half", "generations"]
CountedBy = Literal["server-usage", "server-continuous-usage", "tokenizer", "chunks"]


class Workload(Record):
    """What load is offered. The same object goes into the experiment file, the trial and the report.

    `loadgen.workloads.schedule` says when its requests leave, `loadgen.workloads.shapes` how long they are.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Names the workload in tables and folders.")
    kind: WorkloadKind = Field(description="What load is offered.")
    requests: int | None = Field(default=None, ge=1, description="Measured requests after which the load ends, or")
    duration_s: float | None = Field(default=None, gt=0, description="time after which no request starts.")
    batch_size: int | None = Field(
        default=None, ge=1, description="Requests sent at once; the next group leaves when all are done."
    )
    batch_as: BatchForm = Field(
        default="requests", description="Send a batch as separate requests, or as one request with a list of prompts."
    )
    concurrency: int | None = Field(default=None, ge=1, description="Requests in flight; of a ramp, at its start.")
    end_concurrency: int | None = Field(default=None, ge=1, description="Requests in flight at the end of a ramp.")
    rate: float | None = Field(
        default=None, gt=0, description="Arrivals of an open loop; of a ramp or sweep, at its start."
    )
    end_rate: float | None = Field(
        default=None, gt=0, description="Arrivals at the end of a ramp; the highest rate that a sweep tries."
    )
    rates: list[Annotated[float, Field(gt=0)]] | None = Field(
        default=None, min_length=1, description="The rates of a sweep, instead of a search."
    )
    ramp_steps: int | None = Field(
        default=None,
        ge=2,
        description="Rise in this number of equal steps, first and last included, instead of a straight line.",
    )
    burstiness: float | None = Field(
        default=None,
        gt=0,
        description="Shape of the gamma-distributed gaps: 1 is Poisson, below 1 requests come in bursts.",
    )
    trace: Path | None = Field(default=None, description="The recorded traffic to replay.")
    speed: float = Field(default=1.0, gt=0, description="Replay the trace this many times as fast.")
    sweep: str | None = Field(
        default=None, description="Name of the sweep that this rate is a point of; set by the program."
    )
    prompt_tokens: Tokens = Field(default=64, description="Length of synthetic prompts: a number or a distribution.")
    output_tokens: Tokens = Field(default=64, description="Length of the answers: a number or a distribution.")
    prompts: str | None = Field(
        default=None,
        description="A file of prompts, or `hellaswag`, `mmlu`, `ifeval`; without it prompts are synthetic.",
    )
    file_sha256: str | None = Field(
        default=None, description="Content of the trace or file of prompts; set by the program."
    )
    prompt_as: PromptForm = Field(default="ids", description="Send synthetic prompts as token ids or as text.")
    shared_prefix: int = Field(default=0, ge=0, description="First tokens that all synthetic prompts share.")
    natural_stop: bool = Field(
        default=False,
        description="Let the model stop by itself; otherwise `ignore_eos` makes every answer exactly `output_tokens` long.",
    )
    warmup_requests: int = Field(
        default=2, ge=0, description="Requests of the same shapes that are sent first and not measured."
    )
    slo_ttft_ms: float | None = Field(default=None, gt=0, description="Objective of the goodput: time to first token.")
    slo_tpot_ms: float | None = Field(
        default=None, gt=0, description="Objective of the goodput: time per output token."
    )
    slo_share: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="Share of the requests that must meet every objective for a sweep to call a rate good.",
    )

    @property
    def open_loop(self) -> bool:
        """Whether requests leave by a schedule, whatever has come back."""
        return self.kind in {"constant", "poisson", "burst", "trace"} or (self.kind == "ramp" and self.rate is not None)

    @model_validator(mode="after")
    def _fields_of_its_kind(self) -> Workload:
        needed, allowed = _FIELDS[self.kind]
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"a {self.kind} workload needs `{name}`")
        default = type(self).model_fields
        for name in _ALL_FIELDS - {*needed, *allowed}:
            if getattr(self, name) != default[name].default:
                raise ValueError(f"`{name}` means nothing to a {self.kind} workload")
        if self.prompts is not None and (self.kind == "trace" or self.shared_prefix or self.prompt_as != "ids"):
            raise ValueError("`prompts` of the user's go without `trace`, `shared_prefix` and `prompt_as`")
        if isinstance(self.prompt_tokens, int) and self.shared_prefix >= self.prompt_tokens:
            raise ValueError("`shared_prefix` must be below `prompt_tokens`")
        if self.batch_as == "list" and not isinstance(self.output_tokens, int):
            raise ValueError("`batch_as` list needs a plain number of `output_tokens`: one request has one max_tokens")
        if self.kind == "trace" and self.requests is not None and self.duration_s is not None:
            raise ValueError("a trace workload ends by `requests` or by `duration_s`, not by both")
        if self.kind != "trace" and (self.requests is None) == (self.duration_s is None):
            raise ValueError("a workload needs exactly one of `requests` and `duration_s`")
        return self

    @model_validator(mode="after")
    def _ramp_of_one_thing(self) -> Workload:
        if self.kind == "ramp":
            pairs = [(self.rate, self.end_rate), (self.concurrency, self.end_concurrency)]
            if [None not in pair for pair in pairs].count(True) != 1 or pairs.count((None, None)) != 1:
                raise ValueError("a ramp workload needs `rate` and `end_rate`, or `concurrency` and `end_concurrency`")
            if self.concurrency is not None and self.concurrency > (self.end_concurrency or 0):
                raise ValueError("a ramp workload's `end_concurrency` cannot be below its `concurrency`")
        if self.kind == "sweep" and (self.rate is None) == (self.rates is None):
            raise ValueError("a sweep workload needs `rate`, the lowest to try, or `rates`, all of them")
        if self.kind == "sweep" and self.rate is not None and self.end_rate is not None and self.end_rate < self.rate:
            raise ValueError("a sweep workload's `end_rate` cannot be below its `rate`")
        return self


# By kind: the fields it cannot do without, and those it may have.
_FIELDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "single": ((), ()),
    "batch": (("batch_size",), ("batch_as",)),
    "concurrency": (("concurrency",), ()),
    "constant": (("rate",), ("sweep",)),
    "poisson": (("rate",), ("sweep",)),
    "burst": (("rate", "burstiness"), ("sweep",)),
    "ramp": (("duration_s",), ("rate", "end_rate", "concurrency", "end_concurrency", "ramp_steps", "burstiness")),
    "trace": (("trace",), ("speed",)),
    "sweep": ((), ("rate", "end_rate", "rates", "burstiness", "slo_share")),
}
_ALL_FIELDS = {name for both in _FIELDS.values() for names in both for name in names} - {"duration_s"}


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
    asked_tokens: int | None = None  # output tokens that were asked for
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    counted_by: CountedBy | None = None
    finish_reason: str | None = None
    status: int | None = None
    error: str | None = None
    read_lag_p50_ns: int | None = None  # from the kernel's stamp to the client's reading, over the answer's reads
    read_lag_max_ns: int | None = None


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
        ("asked_tokens", pa.int32()),
        ("prompt_tokens", pa.int32()),
        ("output_tokens", pa.int32()),
        ("counted_by", pa.string()),
        ("finish_reason", pa.string()),
        ("status", pa.int32()),
        ("error", pa.string()),
        ("read_lag_p50_ns", pa.int64()),
        ("read_lag_max_ns", pa.int64()),
    ]
)


class ClientHealth(Record):
    """Whether the client itself kept up: what the client-saturated and schedule-lag checks read.

    Of several client processes, the busiest and the latest.
    """

    cpu_fraction: float | None  # of one core, over the window
    loop_lag_p99_ms: float | None  # how late the client's own timer fired
    schedule_lag_p99_ms: float | None  # sent - scheduled, open loop only
    # From the kernel's receive stamp to the client's reading, over all reads of the window's seconds, within 5 %.
    read_lag_p50_ms: float | None = None
    read_lag_p99_ms: float | None = None
    read_pause_ms: float = 0.0  # so much of it can be the client's own pause between two looks at its sockets
    kernel_stamped: float | None = None  # share of the reads that had such a stamp; the others are timed by reading
    clock_steps: int = 0  # how often the wall clock was set during the load
    processes: int = 1
    cores: int | None = None  # that each of them could run on; None: not noted


class WarmUp(Record):
    """What was sent before the load was recorded, and whether the server had settled by then."""

    requests: int
    groups: int  # of as many requests as will be in flight
    seconds: float
    steady: bool | None  # None: so many requests were asked for, and no more
    change: float | None  # of the time per token over the last groups, as a share of it; None: fewer than three groups


class Trial(Record):
    """`trial.json`: one measured repetition of a workload on a configuration."""

    schema_version: Literal[1] = 1
    url: str
    model: str
    workload: Workload
    seed: int
    request_timeout_s: float | None = None  # from sending to the end; None: recorded before it was noted
    idle_timeout_s: float | None = None  # between two reads after the first token; None: no such limit
    window_start_ns: int
    window_end_ns: int
    window_rule: WindowRule  # whole: all measured requests; the others: `loadgen.metrics.window`
    window_rules: WindowRules = 1  # the version of the rules that cut the window and say what counts in it
    generations: int | None = None  # of a closed loop in the window; None: another kind of load, or rules 1
    first_sent_ns: int  # of the measured requests: the edges with the ramps
    last_end_ns: int
    started_at: str  # wall clock, ISO 8601 UTC, for people only
    client: ClientHealth
    energy: WindowEnergy
    warmup: WarmUp | None = None
    interrupted: bool = False  # Ctrl-C ended it: requests that were in flight then are not in the records
    server_prefix_hit_tokens: int | None = None  # change of the server's counter over the trial; None: not offered
    server_generated_tokens: int | None = None
    server_preemptions: int | None = None  # requests that the server threw out of its batch and computed anew


class Flag(Record):
    """One validity rule that warned or failed, by its documented name."""

    check: str
    outcome: Literal["warn", "fail"]
    reason: str
