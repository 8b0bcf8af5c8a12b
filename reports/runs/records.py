"""The records of a run folder: `reports/runs/run_folder.py` draws where each of them is a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from base.records import Record
from energy.records import IdleWindow, WindowEnergy
from loadgen.records.schema import WindowRules
from pruner.output.manifest import Manifest, SourceFile

OrderRule = Literal["shuffled", "balanced"]
IdleRule = Literal["configuration", "visit"]


class Quality(Record):
    """Held-out quality of one configuration, measured through its own endpoint."""

    perplexity: float | None  # exp(mean negative log-likelihood per token)
    standard_error: float | None  # of the perplexity, from the spread over windows of text
    tokens: int
    text: str  # what was read, in words
    text_sha256: str
    reason: str | None = None  # why perplexity is None


class EvaluationSettings(Record):
    """How a task was asked, so that the figure can be had again; the same for all configurations of a run."""

    backend: Literal["endpoint", "in-process"]
    harness: str  # "lm-eval 0.4.13"
    chat_template: bool
    limit: int | None  # at most so many items a task; None: all
    seeds: dict[str, int]


class Score(Record):
    """One metric of one task, as lm-eval gives it."""

    metric: str  # "acc_norm"
    filter: str  # "none" where the task post-processes nothing
    value: float
    standard_error: float | None  # None where neither lm-eval nor the items give one
    higher_is_better: bool


class TaskResult(Record):
    """One quality task on one configuration: every score, what each item gave, and what asking cost.

    `values` and `weights` are of the first score, an item each, in the data set's order: for `statistic` "mean" the score is
    mean(values); for "perplexity" it is exp(-sum(values) / sum(weights)), values being log-likelihoods and weights words or
    bytes; a mean has no weights. Empty where the score is neither. They let two configurations be compared item by item.
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
    tokens: int | None = None  # prompt and output tokens, counted by the server; None where it does not say
    energy: WindowEnergy | None = None  # over those seconds
    evaluated_at: str
    settings: EvaluationSettings


_PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")


def gpus_of(engine_options: Mapping[str, str]) -> int:
    """How many GPUs an engine with these options takes, by vLLM's names. Raises ValueError naming the option that is no number."""
    gpus = 1
    for key in _PARALLEL:
        size = engine_options.get(key, "1")
        if not size.isdecimal() or not int(size):
            raise ValueError(f"{key}: must be a number of GPUs, not {size}")
        gpus *= int(size)
    return gpus


class ModelShape(Record):
    """What of config.json says how much is read and computed for a token."""

    layers: int
    hidden_size: int
    vocab_size: int
    heads: int
    kv_heads: int
    head_dim: int
    tied_embeddings: bool


class ConfigurationInfo(Record):
    """A checkpoint plus the engine settings it is served with."""

    label: str
    is_baseline: bool
    model: str  # name it is served under
    checkpoint: str  # path, for people
    width: int
    hidden_size: int
    expansion_ratio: float
    pruning_percentage: float
    parameters: int
    checkpoint_bytes: int
    shape: ModelShape | None = None  # None: config.json says too little, or only some experts are read for a token
    engine: str
    engine_version: str | None = None
    engine_options: dict[str, str] = {}
    dtype: str | None = None
    resolved_options: dict[str, str] | None = (
        None  # what the engine made of them; None: it did not report, or of before
    )
    manifest: Manifest | None = None  # None for the unpruned source
    quality: Quality | None = None
    # Model loaded, no requests, before the first trial; by the idle rule "configuration" it is what net joules subtract.
    idle: WindowEnergy | None = None
    idle_without_model: WindowEnergy | None = None  # before its server was started
    idle_after_load: WindowEnergy | None = None  # from the end of its last trial on: clocks and heat are still up
    idle_again: WindowEnergy | None = None  # model loaded, no requests, after the last trial
    load_s: float | None = None  # from start of the server process to healthy


class Placement(Record):
    """Where a trial of a run on several machines was measured."""

    host: str  # its name, for people
    boot_id: (
        str  # of the host's kernel, since it was started: the same in all containers of one machine, and in no other
    )
    kind: str  # "AMD EPYC 9B14, NVIDIA H100 80GB HBM3": hosts of one kind may be compared
    gpus: list[str] = []  # UUIDs of those that it used
    beside: list[str] = []  # what else of this run was at work on the host meanwhile


class TrialCell(Record):
    """Which cell of the experiment a trial fills."""

    block: int
    label: str
    workload: str
    order: int  # position within the run, for drift plots
    placement: Placement | None = None  # None: on the machine that the run was started on, one trial at a time


class CellRecord(TrialCell):
    """cell.json: the cell of a trial, and what the trial's files held when they were written."""

    files_sha256: dict[str, str] | None = None  # by name; None: recorded before this, so nothing can be verified
    sha256: str | None = None  # of all the other fields

    @classmethod
    def sealed(cls, cell: TrialCell, files_sha256: Mapping[str, str] | None) -> CellRecord:
        """The record to write."""
        record = cls.model_validate(cell.model_dump() | {"files_sha256": files_sha256, "sha256": None})
        return record.model_copy(update={"sha256": sha256_of(record.model_dump())})

    @property
    def cell(self) -> TrialCell:
        """The cell alone."""
        return TrialCell.model_validate(self.model_dump(include=set(TrialCell.model_fields)))


def sha256_of(fields: Mapping[str, Any]) -> str:
    """Of a record as JSON, whatever fields it had when it was written."""
    content = {key: value for key, value in fields.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class VisitIdle(Record):
    """Idle power before and after the trials of one configuration in one block: what their net joules subtract."""

    block: int
    label: str
    workloads: list[str]  # to be measured between the two, in this order
    before: IdleWindow
    after: IdleWindow | None = None  # None: the visit was cut short
    attempt: int = (
        1  # of measuring that first workload: later ones are of what an earlier one left, or of a damaged cell
    )

    @property
    def file_name(self) -> str:
        """In the run's `idle/`."""
        again = f"-{self.attempt}" if self.attempt > 1 else ""
        return f"{self.block:03d}-{self.label}-{self.workloads[0]}{again}.json"

    def covers(self, cell: TrialCell) -> bool:
        """Whether the cell was to be measured in this visit."""
        return (cell.block, cell.label) == (self.block, self.label) and cell.workload in self.workloads


class FailedCell(Record):
    """A cell that was tried and gave nothing to keep."""

    block: int
    label: str
    workload: str
    error: str


class RunInfo(Record):
    """What was to be measured, and how far it has come."""

    schema_version: Literal[1] = 1
    name: str
    created_at: str  # ISO 8601 UTC
    prunebench_version: str
    baseline: str  # label
    labels: list[str]  # in the order of the experiment, widest first
    workloads: list[str]
    blocks: int
    seed: int
    window_rules: WindowRules = 1  # of its trials, from the first to the last; 1: begun before there were others
    status: Literal["prepared", "running", "interrupted", "failed", "complete"]
    order: OrderRule = "shuffled"  # by which rule the cells are ordered; runs recorded without one were shuffled
    # Blocks planned when the run began, then the total each time some were added; none: `blocks` from the start.
    block_counts: tuple[int, ...] = ()
    # Of the unpruned checkpoint when the run began; none: recorded before this.
    checkpoint: tuple[SourceFile, ...] = ()
    # What had changed when it was resumed with --accept-changes, in words.
    accepted_changes: tuple[str, ...] = ()
    # How often idle power is measured for net joules: once a configuration, or around every visit.
    idle_rule: IdleRule = "configuration"


class DamagedTrial(Record):
    """A trial of which a file is missing or cannot be what was written; `reason` is one line that names it."""

    name: str  # of its folder
    reason: str

    def is_of(self, label: str, workload: str) -> bool:
        """Whether it fills a cell of this configuration and workload, by the folder's name."""
        return self.name.endswith(f"-{label}-{workload}")


def damaged_line(trial: DamagedTrial) -> str:
    """For people at a terminal."""
    return f"damaged, left out: {trial.reason}"
