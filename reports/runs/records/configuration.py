"""What is compared, and the facts of it besides its trials."""

from __future__ import annotations

from collections.abc import Mapping

from base.records import Record
from energy.records import WindowEnergy
from pruner.output.manifest import Manifest
from reports.runs.records.quality import NextTokens, Quality

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
