"""What a trial leaves behind: request records, the trial, its summary. `prunebench report` reads nothing else of loadgen.

Times ending in `_ns` are `time.monotonic_ns()` of the load side unless they say otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from base.records import Record
from energy.carbon import Carbon, Intensity, carbon_of
from energy.records import WindowEnergy
from loadgen.workloads.base import Workload

WindowRules = Literal[1, 2]  # 1: of runs from before closed loops were cut by generations; 2: `loadgen.metrics.window`
WindowRule = Literal["whole", "steady", "half", "generations"]
CountedBy = Literal["server-usage", "server-continuous-usage", "tokenizer", "chunks"]


@dataclass(slots=True)
class RequestRecord:
    """One request as the client saw it. `None` is 'did not happen', and `error` then says why."""

    request_id: str
    index: int
    group: int  # static batch or session the request belonged to; the request's own index elsewhere
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
    output_characters: int | None = None  # of the answer's text; None: no answer, or recorded before this field
    turn: int | None = None  # of its session, from 0; None: of no session
    cached_tokens: int | None = None  # of the prompt, that the server took from its prefix cache; None: it does not say
    reasoning_tokens: int | None = None  # of the output; None: it has no reasoning apart
    hidden_reasoning_tokens: int | None = None  # of those, that were counted and not streamed, before the first token
    first_answer_ns: int | None = None  # of the first chunk after the reasoning
    counted_by: CountedBy | None = None
    finish_reason: str | None = None
    status: int | None = None
    error: str | None = None
    read_lag_p50_ns: int | None = None  # from the kernel's stamp to the client's reading, over the answer's reads
    read_lag_max_ns: int | None = None


# The columns of requests.parquet, which are RequestRecord's fields, and their Arrow types.
COLUMN_TYPES = {
    "request_id": "string",
    "index": "int64",
    "group": "int64",
    "scheduled_ns": "int64",
    "sent_ns": "int64",
    "headers_ns": "int64",
    "first_token_ns": "int64",
    "last_token_ns": "int64",
    "end_ns": "int64",
    "arrival_ns": "list int64",
    "arrival_tokens": "list int32",
    "asked_tokens": "int32",
    "prompt_tokens": "int32",
    "output_tokens": "int32",
    "output_characters": "int32",
    "turn": "int32",
    "cached_tokens": "int32",
    "reasoning_tokens": "int32",
    "hidden_reasoning_tokens": "int32",
    "first_answer_ns": "int64",
    "counted_by": "string",
    "finish_reason": "string",
    "status": "int32",
    "error": "string",
    "read_lag_p50_ns": "int64",
    "read_lag_max_ns": "int64",
}


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
    read_pause_ms: float = 0.0  # the part of it that may be the client's own pause between two polls
    kernel_stamped: float | None = None  # share of the reads that had such a stamp; the others are timed by reading
    clock_steps: int = 0  # how often the wall clock was set during the load
    processes: int = 1
    cores: int | None = None  # that each of them could run on; None: not recorded


class RequestForm(Record):
    """What a trial's requests look like, without what they say."""

    path: str
    keys: list[str]  # of the body
    other_keys: list[str] = []  # of other bodies alone: lines of a file may bring their own
    bytes: int  # of the first measured request's body
    sha256: str  # of that body


class WarmUp(Record):
    """What was sent before the load was recorded, and whether the server had settled by then."""

    requests: int
    groups: int  # of as many requests as will be in flight
    seconds: float
    steady: bool | None  # None: a fixed number of requests was asked for
    change: float | None  # of the time per token over the last groups, as a share of it; None: fewer than three groups
    joules: float | None = None  # gross, over its seconds
    joules_uncertainty: float | None = None  # half-width of a 95 % interval
    joules_reason: str | None = None  # why there are none; None too in older records


class SteadyState(Record):
    """The same load by ML.ENERGY's rule (`loadgen.metrics.steady_state`), beside the window's own."""

    batch: int | None = None  # requests that the loop keeps in flight
    start_ns: int | None = None
    end_ns: int | None = None
    output_tokens: int | None = None  # that arrived between the two
    joules: float | None = None  # gross
    joules_uncertainty: float | None = None  # half-width of a 95 % interval
    reason: str | None = None  # why there is no such time, or no joules


class Trial(Record):
    """`trial.json`: one measured repetition of a workload on a configuration."""

    schema_version: Literal[1] = 1
    url: str
    model: str
    engine: str | None = None  # its name, where the server says it; None: it does not, or recorded before this field
    workload: Workload
    seed: int
    form: RequestForm | None = None  # None: recorded before this field
    part_forms: list[RequestForm] = []  # of each part of a mix; empty of another load, and before this field
    headers: list[str] = []  # names of those that the user added
    request_timeout_s: float | None = None  # from sending to the end; None: recorded before this field
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
    steady_state: SteadyState | None = None  # None: recorded before this field, or of another tool
    carbon: Carbon | None = None  # None: no intensity was stated
    interrupted: bool = False  # Ctrl-C ended it: requests that were in flight then are not in the records
    server_prefix_hit_tokens: int | None = None  # change of the server's counter over the trial; None: not offered
    server_generated_tokens: int | None = None
    server_draft_tokens: int | None = None  # proposed by a draft, in speculative decoding, and those that were accepted
    server_accepted_tokens: int | None = None
    server_preemptions: int | None = None  # requests that the server threw out of its batch and computed anew

    @property
    def begun(self) -> float | None:
        """Unix seconds of its start; None where an imported result has no date that can be read."""
        try:
            return datetime.fromisoformat(self.started_at).timestamp()
        except ValueError:
            return None

    def unix_seconds(self, ns: int) -> float:
        """A moment as Unix seconds: exact to others, and as a date good to some seconds. Without a date, seconds from the start."""
        first_sent = (self.begun or 0.0) + (self.warmup.seconds if self.warmup is not None else 0.0)
        return first_sent + (ns - self.first_sent_ns) / 1e9

    def with_carbon(self, intensity: Intensity | None) -> Trial:
        """The trial with the grams of its window's joules, where an intensity is stated."""
        if intensity is None:
            return self
        start = None if self.begun is None else self.unix_seconds(self.window_start_ns)
        return self.model_copy(update={"carbon": carbon_of(self.energy, start, intensity)})

    @property
    def simulated(self) -> bool:
        """Whether the synthetic engine answered, whose times and joules are settings."""
        return self.engine == "synthetic" or any(part.info.simulated for part in self.energy.parts)


class Flag(Record):
    """One validity rule that warned or failed, by its documented name."""

    check: str
    outcome: Literal["warn", "fail"]
    reason: str
