"""The records of a run folder; `reports/runs/run_folder.py` lists the file of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from base.records import Record
from energy.records import IdleWindow, WindowEnergy
from loadgen.records.schema import WindowRules
from pruner.output.manifest import Manifest, SourceFile
from reports.runs.records.adaptive import Adaptive

OrderRule = Literal["shuffled", "balanced"]
IdleRule = Literal["configuration", "visit"]
# "stopped" is never written: reading says so of a run that is "running" and has no runner.
Status = Literal["prepared", "running", "stopped", "interrupted", "failed", "complete"]


class Quality(Record):
    """Held-out quality of one configuration, measured through its own endpoint."""

    perplexity: float | None  # exp(mean negative log-likelihood per token)
    standard_error: float | None  # of the perplexity, from the spread over windows of text
    tokens: int
    text: str  # the evaluated text, in words
    text_sha256: str
    tokens_sha256: str | None = None  # of the token ids that were scored; None: recorded before this was
    # Of the scored text, in UTF-8; None: its tokens' places in the text are not known, or recorded before this was.
    bytes: int | None = None
    bits_per_byte: float | None = None
    window_nats: list[float] = []  # negative log-likelihood of each window; empty: recorded before this was
    window_tokens: list[int] = []
    windows_sha256: str | None = None  # the same of two configurations whose windows are the same text
    reason: str | None = None  # why perplexity is None


class NextTokens(Record):
    """Next tokens of a checkpoint against the baseline's, over windows of held-out text; empty with a `reason`."""

    kl_nats: list[float] = []  # by window: the mean over its positions of KL(baseline || own)
    agreement: list[float] = []  # by window: the share of positions at which both prefer the same token
    tokens: int = 0
    text: str = ""  # the text, in words
    reason: str | None = None


class EvaluationSettings(Record):
    """The settings of a quality task, enough to repeat it; the same for all configurations of a run."""

    backend: Literal["endpoint", "in-process"]
    harness: str  # "lm-eval 0.4.13"
    chat_template: bool
    limit: int | None  # the most items per task; None: all
    seeds: dict[str, int]


class Score(Record):
    """One metric of one task, as lm-eval reports it."""

    metric: str  # "acc_norm"
    filter: str  # "none" where the task post-processes nothing
    value: float
    standard_error: float | None  # None if neither lm-eval nor the items give one
    higher_is_better: bool


class TaskResult(Record):
    """One quality task on one configuration: every score, the items' values, and the cost in time and energy.

    `values` and `weights` belong to the first score, one entry per item in the data set's order. For `statistic` "mean" the score
    is mean(values), without weights; for "perplexity" it is exp(-sum(values) / sum(weights)), where values are log-likelihoods
    and weights are words or bytes. They are empty if the score is neither. Two configurations are compared item by item with them.
    """

    task: str
    version: str | None = None  # the task's own, from its YAML
    shots: int | None = None  # examples before each question
    scores: list[Score] = []  # the headline first
    statistic: Literal["mean", "perplexity"] | None = None
    values: list[float] = []
    weights: list[float] = []
    chance: float | None = None  # the score of guessing; None: unknown, not recorded, or a perplexity
    items: int = 0
    reason: str | None = None  # why there are no scores
    seconds: float = 0.0  # from the first question to the last answer
    tokens: int | None = None  # prompt and output tokens, counted by the server; None if it does not report them
    energy: WindowEnergy | None = None  # over those seconds
    evaluated_at: str
    reused: bool = False  # of an earlier run, with the same weights, tokenizer, engine, machine and settings
    settings: EvaluationSettings


_PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")


def gpus_of(engine_options: Mapping[str, str]) -> int:
    """The number of GPUs an engine with these options uses, by vLLM's names. Raises ValueError naming an option that is not a number."""
    gpus = 1
    for key in _PARALLEL:
        size = engine_options.get(key, "1")
        if not size.isdecimal() or not int(size):
            raise ValueError(f"{key}: must be a number of GPUs, not {size}")
        gpus *= int(size)
    return gpus


class ModelShape(Record):
    """The parts of config.json that give the bytes read and operations per token."""

    layers: int
    hidden_size: int
    vocab_size: int
    heads: int
    kv_heads: int
    head_dim: int
    tied_embeddings: bool


class ConfigurationInfo(Record):
    """What is compared: a checkpoint with the engine settings it is served with, or a server that was there."""

    label: str
    is_baseline: bool
    model: str | None  # name it is served under; None: whatever its server turns out to serve
    checkpoint: str | None  # path, for people; None: only its server has it
    # What headers say; None: there is no checkpoint here, or one that the pruner cannot read.
    width: int | None
    hidden_size: int | None
    expansion_ratio: float | None
    pruning_percentage: float | None
    parameters: int | None
    checkpoint_bytes: int | None
    url: str | None = None  # of a server that was there already
    command: str | None = None  # that starts its server
    environment: dict[str, str] = {}  # variables of the server that were asked for
    power_limit_w: float | None = None  # of each GPU, and the clock that it is locked to; None: as the run found it
    clock_mhz: int | None = None
    # What was asked to differ from the baseline, in words, by its key: server, checkpoint, width, layers, engine, options.KEY,
    # environment.KEY, speculative, power_limit_w, clock_mhz. Empty for the baseline, and in older records.
    treatment: dict[str, str] = {}
    levels: dict[str, str] = {}  # of a grid: factor -> level; empty outside of one, and in older records
    pruned_alone: bool = True  # it is the baseline, or differs from it in what the pruner did and in nothing else
    shape: ModelShape | None = None  # None: config.json lacks a field, or a token reads only some experts
    engine: str
    engine_version: str | None = None
    draft: str | None = (
        None  # path of the checkpoint that proposes tokens to it; None: none, or n-grams of the prompt do
    )
    engine_options: dict[str, str] = {}
    dtype: str | None = None
    served_model: str | None = None  # as its server calls it; None: it was not asked yet, or an older record
    tokenizer_sha256: str | None = None  # of its checkpoint; None: only its server has it, or an older record
    answers: dict[int, str] = {}  # by block: the model's name and a greedy answer to one prompt, before the trials
    resolved_options: dict[str, str] | None = (
        None  # as the engine resolved them; None: not reported, or an older record
    )
    manifest: Manifest | None = None  # None for the unpruned source
    quality: Quality | None = None
    next_tokens: NextTokens | None = None  # None: not asked for, or the baseline
    # Model loaded, no requests, before the first trial; net joules subtract it under the idle rule "configuration".
    idle: WindowEnergy | None = None
    idle_without_model: WindowEnergy | None = None  # before its server was started
    idle_after_load: WindowEnergy | None = None  # right after its last trial: clocks and temperature are still high
    idle_again: WindowEnergy | None = None  # model loaded, no requests, after the last trial
    load_s: float | None = None  # from start of the server process to healthy
    started_beside: bool = False  # other servers started at the same time, so that `load_s` may be longer than alone
    # Over those seconds, by this machine's meters; None: served elsewhere, up already, or an older record.
    load_energy: WindowEnergy | None = None

    @property
    def described(self) -> bool:
        """Whether its server has answered once."""
        return self.load_s is not None or self.served_model is not None

    @property
    def removed_layers(self) -> int:
        """Whole layers that pruning took out."""
        return len(self.manifest.removed_layers) if self.manifest else 0


class Placement(Record):
    """Where a trial of a run on several machines was measured."""

    host: str  # its name, for people
    boot_id: str  # of the host's kernel boot: the same in all containers of one machine, and in no other
    kind: str  # "AMD EPYC 9B14, NVIDIA H100 80GB HBM3": hosts of one kind may be compared
    gpus: list[str] = []  # UUIDs of the GPUs that the trial used
    beside: list[str] = []  # other parts of this run on the host at the same time


class TrialCell(Record):
    """Which cell of the experiment a trial fills."""

    block: int
    label: str
    workload: str
    order: int  # position within the run, for drift plots
    placement: Placement | None = None  # None: on the machine that the run was started on, one trial at a time


class CellRecord(TrialCell):
    """cell.json: the cell of a trial, and the sha256 of the trial's files."""

    files_sha256: dict[str, str] | None = None  # by name; None: older record, which cannot be verified
    sha256: str | None = None  # of all the other fields

    @classmethod
    def sealed(cls, cell: TrialCell, files_sha256: Mapping[str, str] | None) -> CellRecord:
        """The record with its own sha256."""
        record = cls.model_validate(cell.model_dump() | {"files_sha256": files_sha256, "sha256": None})
        return record.model_copy(update={"sha256": sha256_of(record.model_dump())})

    @property
    def cell(self) -> TrialCell:
        """The cell alone."""
        return TrialCell.model_validate(self.model_dump(include=set(TrialCell.model_fields)))


def sha256_of(fields: Mapping[str, Any]) -> str:
    """The sha256 of a record as JSON, with the fields that it was written with."""
    content = {key: value for key, value in fields.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class VisitIdle(Record):
    """Idle power before and after the trials of one configuration in one block, which their net joules subtract."""

    block: int
    label: str
    workloads: list[str]  # measured between the two, in this order
    before: IdleWindow
    after: IdleWindow | None = None  # None: the visit was interrupted
    attempt: int = 1  # of the first workload; later attempts measure cells that an earlier one left, or damaged cells

    @property
    def file_name(self) -> str:
        """Its name in the run's `idle/`."""
        again = f"-{self.attempt}" if self.attempt > 1 else ""
        return f"{self.block:03d}-{self.label}-{self.workloads[0]}{again}.json"

    def covers(self, cell: TrialCell) -> bool:
        """Whether the cell belongs to this visit."""
        return (cell.block, cell.label) == (self.block, self.label) and cell.workload in self.workloads


class FailedCell(Record):
    """A cell whose measurement failed."""

    block: int
    label: str
    workload: str
    error: str


class Extension(Record):
    """Blocks added to a run that had begun."""

    at: str | None = None  # ISO 8601 UTC; None: recorded before this was
    before: int  # blocks
    after: int
    trials: int | None = None  # finished by then, whose results could be looked at; None: recorded before this was


class RunInfo(Record):
    """run.json: what the run measures, and its status."""

    schema_version: Literal[1] = 1
    name: str
    created_at: str  # ISO 8601 UTC
    prunebench_version: str
    baseline: str  # label
    labels: list[str]  # in the order of the experiment, widest first
    workloads: list[str]
    blocks: int
    seed: int
    window_rules: WindowRules = 1  # for all its trials; 1: older than the later rules
    status: Status
    order: OrderRule = "shuffled"  # of the cells; older runs were shuffled
    # Planned blocks when the run began, then the total after each addition; empty: `blocks` from the start.
    block_counts: tuple[int, ...] = ()
    # Of the unpruned checkpoint when the run began; empty: older record.
    checkpoint: tuple[SourceFile, ...] = ()
    # Changes accepted by --accept-changes, in words.
    accepted_changes: tuple[str, ...] = ()
    # When idle power is measured for net joules: once per configuration, or around every visit.
    idle_rule: IdleRule = "configuration"
    # Wall time of all attempts so far, with pruning and quality, without the report; None: one was killed, or an older record.
    wall_s: float | None = None
    # Every addition of blocks, the first one first; older records have `block_counts` alone.
    extensions: tuple[Extension, ...] = ()
    # How its results decide its number of blocks: `blocks` are those so far, and those beyond `block_counts` were added one by one.
    # None: that is fixed, or an older record.
    adaptive: Adaptive | None = None

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of blocks after which its results could decide whether there are more; none if they could not."""
        seen = [one.before for one in self.extended()]
        if self.adaptive is not None:
            return (*seen, *range(self.block_counts[-1], self.blocks + 1))
        return (*seen, self.blocks) if seen else ()

    def blocks_of(self, label: str) -> int:
        """The number of blocks that a configuration is part of."""
        return self.adaptive.settled.get(label, self.blocks) if self.adaptive else self.blocks

    @property
    def planned_trials(self) -> int:
        """Of all blocks so far."""
        return len(self.workloads) * sum(map(self.blocks_of, self.labels))

    @property
    def state(self) -> str:
        """The status as the end of a sentence about the run."""
        return "stopped without ending" if self.status == "stopped" else f"is {self.status}"

    def extended(self) -> list[Extension]:
        """Additions of blocks by hand after results could be seen."""
        known = {one.after: one for one in self.extensions}
        added = zip(self.block_counts, self.block_counts[1:], strict=False)
        every = [known.get(after, Extension(before=before, after=after)) for before, after in added]
        return [one for one in every if one.trials != 0]


class DamagedTrial(Record):
    """A trial with a missing or changed file; `reason` is one line that names the file."""

    name: str  # of its folder
    reason: str

    def is_of(self, label: str, workload: str) -> bool:
        """Whether its folder's name is of this configuration and workload."""
        return self.name.endswith(f"-{label}-{workload}")


def damaged_line(trial: DamagedTrial) -> str:
    """One line for the terminal."""
    return f"damaged, left out: {trial.reason}"
