"""The keys of an experiment file: what to prune, serve, load and measure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from base.choices import OneOf
from base.errors import UserError
from base.quantities import SECONDS
from base.records import Record
from loadgen import REQUEST_TIMEOUT_S
from loadgen.workloads.base import Workload
from pruner.scoring.calibration import Refit
from pruner.scoring.criteria import criterion_choices, needing_text
from pruner.scoring.recipe import needs_text
from pruner.scoring.selection import TieBreak
from pruner.scoring.targets import Target
from server.engines.registry import AUTO
from server.settings import EngineName


class ExperimentError(UserError):
    """The experiment file, or what it names, cannot be used; one line that names the key."""


class Model(Record):
    """Where the unpruned checkpoint is. A relative path is relative to the experiment file."""

    source: Path = Field(
        description="The unpruned checkpoint: a folder, or `OWNER/NAME` on the hub; `run --model` takes its place."
    )


_OneOrMore = Annotated[str, OneOf(criterion_choices)] | list[Annotated[str, OneOf(criterion_choices)]]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Prune(Record):
    """The widths and depths to make. The source itself is always served too, as the baseline."""

    expansion_ratios: list[float] = Field(default=[], description="Target widths as width / hidden size.")
    pruning_percentages: list[Annotated[float, Field(ge=0, lt=100)]] = Field(
        default=[], description="Target widths as the share of the source's width to remove."
    )
    widths: list[int] = Field(default=[], description="Target widths themselves.")
    remove_layers: list[Annotated[int, Field(ge=0)]] = Field(
        default=[],
        description="Whole layers to remove, as many as each number says, chosen over the calibration text. Every width is made "
        "with each; 0 keeps all layers, and without a width the source's own stays.",
    )
    criterion: Annotated[
        list[Annotated[str, OneOf(criterion_choices)]],
        BeforeValidator(_listed, json_schema_input_type=_OneOrMore),
    ] = Field(
        default=["maw"],
        min_length=1,
        description="What ranks the neurons; the highest scores stay. Of several, in a list, each is a configuration at every width.",
    )
    refit: Refit | None = Field(
        default=None,
        description="Refit the down projections to the calibration text by least squares: `one-shot`, one run of the text "
        "for all widths, or `sequential`, a run for each, on what reaches a layer of the pruned model.",
    )
    calibration: list[Path] = Field(
        default=[],
        description=f"Text, JSONL or chats for the criteria {needing_text()}, for `refit` and for `remove_layers`, which run the model; "
        "relative to the experiment file.",
    )
    seed: int = Field(default=0, description="Seed of the `random` criterion.")
    multiple_of: int = Field(default=1, ge=1, description="Round each width to the nearest multiple of this.")
    tie_break: TieBreak = Field(
        default="stable", description="Which of equal scores stay: the lower index, or `torch.topk`'s set."
    )

    @model_validator(mode="after")
    def _something_to_prune(self) -> Prune:
        if not self.targets() and not any(self.remove_layers):
            raise ValueError("give expansion_ratios, pruning_percentages, widths or remove_layers")
        if twice := next((name for name in self.criterion if self.criterion.count(name) > 1), None):
            raise ValueError(f"criterion {twice} is named twice")
        asking = needs_text(self.criterion, refit=self.refit is not None, depth=any(self.remove_layers))
        if asking and not self.calibration:
            key = asking.removeprefix("--").replace("remove-layers", "remove_layers")
            raise ValueError(f"{key} needs a text: calibration = [FILE]")
        if self.calibration and not asking:
            raise ValueError(f"calibration: only the criteria {needing_text()}, refit and remove_layers use a text")
        return self

    def targets(self) -> list[Target]:
        """In the order ratios, percentages, widths."""
        return [
            *(Target("ratio", r) for r in self.expansion_ratios),
            *(Target("percentage", p) for p in self.pruning_percentages),
            *(Target("width", w) for w in self.widths),
        ]


class Serve(Record):
    """How every configuration is served: the same engine and options for all."""

    engine: EngineName = Field(
        default=AUTO, description="What serves; `auto` is vLLM where it is installed with a GPU, else transformers."
    )
    options: dict[str, str] = Field(
        default={}, description="Options of the engine, as `serve --engine-option KEY=VALUE`."
    )
    keep_servers: bool = Field(
        default=False, description="Keep all configurations loaded side by side, if memory holds them."
    )
    start_timeout_s: Annotated[float, SECONDS] = Field(
        default=600,
        gt=0,
        description="Time from starting a server to its first healthy answer; a slower start fails the cell.",
    )


class Protocol(Record):
    """Repeats: every block visits every configuration once, in a balanced order."""

    blocks: int = Field(default=5, ge=1, description="Repeats; every block visits every configuration once.")
    cooldown_s: Annotated[float, SECONDS] = Field(
        default=0, ge=0, description="Rest before each trial, with its server idle."
    )
    steady_within: float = Field(
        default=0.05, gt=0, description="Warm up until the time per token changes by no more than this share;"
    )
    warmup_limit_s: Annotated[float, SECONDS] = Field(
        default=60, ge=0, description="or for this long. 0 sends the workload's `warmup_requests` and no more."
    )
    request_timeout_s: Annotated[float, SECONDS] = Field(
        default=REQUEST_TIMEOUT_S, gt=0, description="Time from sending a request to its end; a slower request fails."
    )


class EnergySettings(Record):
    """Which meter. Modelled energy needs its assumption stated; it never shares a column with measured energy."""

    source: str = Field(default="auto", description="`auto`, `none`, `local`, or the URL of a server with `/energy`.")
    modelled_watts_per_core: float | None = Field(
        default=None, gt=0, description="The assumption that modelled energy rests on; without it there is none."
    )
    idle_s: Annotated[float, SECONDS] = Field(
        default=30,
        ge=0,
        description="Idle power is measured for this long before a configuration's loads, and after them, over all blocks.",
    )


class QualitySettings(Record):
    """Held-out perplexity, over text files, and quality tasks of lm-eval; `stdlib:NAME` names a file of this Python's
    standard library. Perplexity is asked on a configuration's first visit, tasks after the last trial.
    """

    perplexity_files: list[str] = Field(
        default=[], description="Held-out texts; `stdlib:NAME` is a file of this Python's standard library."
    )
    context_tokens: int = Field(default=512, ge=8, description="Length of the windows into which each text is cut.")
    max_tokens: int = Field(default=16384, ge=8, description="Read at most this much of the texts.")
    tasks: list[str] = Field(
        default=[], description="As `evaluate --tasks`: `fragile-knowledge`, `offline`, `hellaswag`, `gsm8k:8` …"
    )
    include_paths: list[str] = Field(default=[], description="Folders with task files of your own.")
    limit: int | None = Field(default=None, ge=1, description="At most this many items a task; all without it.")
    concurrency: int = Field(default=32, ge=1, description="Prompts in flight.")


def _unique_names(workloads: list[Workload]) -> list[Workload]:
    workloads = [point for workload in workloads for point in workload.points()]
    names = [w.name for w in workloads]
    if len(set(names)) != len(names):
        raise ValueError("two workloads have the same name")
    return workloads


class Experiment(Record):
    """Everything `prunebench run` needs, every default written out; saved resolved in the run folder."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Names the run folder.")
    seed: int = Field(default=0, description="Seed of the order, prompts, lengths and arrivals.")
    model: Model
    prune: Prune
    serve: Serve = Serve()
    protocol: Protocol = Protocol()
    energy: EnergySettings = EnergySettings()
    quality: QualitySettings | None = None
    workloads: Annotated[list[Workload], Field(min_length=1), AfterValidator(_unique_names)]
