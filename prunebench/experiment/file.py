"""The keys of an experiment file: what to compare, load and measure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from base.choices import OneOf
from base.errors import UserError
from base.quantities import SECONDS
from base.records import Record
from energy.carbon import Intensity, read_intensity
from loadgen import REQUEST_TIMEOUT_S
from loadgen.workloads.base import Workload
from prunebench.experiment.tables.configuration import Configuration
from prunebench.experiment.tables.grid import Factor, Level, with_grid
from pruner.scoring.calibration import Refit
from pruner.scoring.criteria import criterion_choices, needing_text
from pruner.scoring.recipe import needs_text
from pruner.scoring.selection import TieBreak
from pruner.scoring.targets import Target
from reports.analysis.precision import EXAMPLE, Goal
from server.engines.registry import AUTO
from server.settings import EngineName


class ExperimentError(UserError):
    """The experiment file, or what it names, cannot be used; one line that names the key."""


class Model(Record):
    """Where the unpruned checkpoint is. A relative path is relative to the experiment file."""

    source: Path = Field(
        description="The unpruned checkpoint: a folder, or `OWNER/NAME` on the hub; `run --model` takes its place."
    )


_FEWEST, _MOST = 5, 20  # blocks of a run that decides their number


def _goal(text: str) -> str:
    Goal.parse(text)
    return text


_OneOrMore = Annotated[str, OneOf(criterion_choices)] | list[Annotated[str, OneOf(criterion_choices)]]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Prune(Record):
    """The widths and depths to make, each a configuration; the source itself is one too, the baseline. Without any of these keys the
    others are those of the configurations that are pruned.
    """

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
    def _no_criterion_twice(self) -> Prune:
        if twice := next((name for name in self.criterion if self.criterion.count(name) > 1), None):
            raise ValueError(f"criterion {twice} is named twice")
        return self

    @property
    def makes_any(self) -> bool:
        """Whether it asks for a width or depth by itself."""
        return bool(self.targets()) or any(self.remove_layers)

    def targets(self) -> list[Target]:
        """In the order ratios, percentages, widths."""
        return [
            *(Target("ratio", r) for r in self.expansion_ratios),
            *(Target("percentage", p) for p in self.pruning_percentages),
            *(Target("width", w) for w in self.widths),
        ]


class Serve(Record):
    """How every configuration is served: the engine and options that all share."""

    engine: EngineName = Field(
        default=AUTO, description="What serves; `auto` is vLLM where it is installed with a GPU, else transformers."
    )
    options: dict[str, str] = Field(
        default={}, description="Options of the engine, as `serve --engine-option KEY=VALUE`."
    )
    environment: dict[str, str] = Field(
        default={}, description="Environment variables of the servers that are started."
    )
    keep_servers: bool = Field(
        default=False,
        description="Keep all configurations loaded side by side, if memory holds them. Servers of the transformers engine then start "
        "side by side too, one for each core, before the first trial.",
    )
    start_timeout_s: Annotated[float, SECONDS] = Field(
        default=600,
        gt=0,
        description="Time from starting a server to its first healthy answer; a slower start fails the cell.",
    )


class Protocol(Record):
    """Repeats: every block visits every configuration once, in a balanced order. With `until` there are as many as it takes, and
    configurations whose ratios are known are left out of later blocks.
    """

    blocks: int = Field(
        default=5,
        ge=1,
        description="Repeats; every block visits every configuration once. With `until` they are `min_blocks` at first.",
    )
    until: Annotated[str, AfterValidator(_goal)] | None = Field(
        default=None,
        description=f"Add blocks until the interval of every ratio to the baseline is this narrow, such as `{EXAMPLE}`; a "
        "quantity is a column of `cells.csv`, where `tpot` is `median_tpot_ms`. The intervals allow for the looks.",
    )
    min_blocks: int = Field(default=_FEWEST, ge=2, description="Of `until`: look after this number of blocks first;")
    max_blocks: int = Field(default=_MOST, ge=2, description="end after this number at the latest;")
    max_hours: float | None = Field(
        default=None, gt=0, description="and begin no block that would end later than this, in one attempt at the run."
    )
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

    @model_validator(mode="before")
    @classmethod
    def _begins_with_the_fewest(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("until") is not None:
            return {"blocks": data.get("min_blocks", _FEWEST)} | data
        return data

    @model_validator(mode="after")
    def _blocks_of_until(self) -> Protocol:
        if self.until is None:
            changed = {"min_blocks": _FEWEST, "max_blocks": _MOST, "max_hours": None}
            if key := next((key for key, default in changed.items() if getattr(self, key) != default), None):
                raise ValueError(f"`{key}` belongs to until, which is missing")
            return self
        if self.blocks != self.min_blocks:
            raise ValueError("`blocks`: with until give min_blocks and max_blocks instead")
        if self.max_blocks < self.min_blocks:
            raise ValueError(f"`max_blocks`: must be at least min_blocks, which is {self.min_blocks}")
        return self


class EnergySettings(Record):
    """Which meter, and what joules weigh. Modelled energy needs its assumption stated; it never shares a column with measured energy."""

    source: str = Field(default="auto", description="`auto`, `none`, `local`, or the URL of a server with `/energy`.")
    modelled_watts_per_core: float | None = Field(
        default=None, gt=0, description="The assumption that modelled energy rests on; without it there is none."
    )
    idle_s: Annotated[float, SECONDS] = Field(
        default=30,
        ge=0,
        description="Idle power is measured for this long before a configuration's loads, and after them, over all blocks.",
    )
    carbon: float | Path | None = Field(
        default=None,
        description="Grams of CO2 for a kWh of the grid, or a .csv or .json file with `time` and `g_per_kwh`; without it there is no mass.",
    )
    carbon_source: str | None = Field(default=None, description="Where `carbon` is from, for the report.")

    @model_validator(mode="after")
    def _source_of_something(self) -> EnergySettings:
        if self.carbon is None and self.carbon_source is not None:
            raise ValueError("`carbon_source` belongs to carbon, which is missing")
        return self

    def intensity(self) -> Intensity | None:
        """The stated intensity of the grid. Raises CarbonError for a file that cannot be used."""
        return None if self.carbon is None else read_intensity(f"{self.carbon}", self.carbon_source, "energy.carbon")


class QualitySettings(Record):
    """Held-out perplexity, over text files, and quality tasks of lm-eval; `stdlib:NAME` names a file of this Python's
    standard library. Perplexity is asked on a configuration's first visit, tasks after the last trial.
    """

    perplexity_files: list[str] = Field(
        default=[], description="Held-out texts; `stdlib:NAME` is a file of this Python's standard library."
    )
    context_tokens: int = Field(default=512, ge=8, description="Length of the windows into which each text is cut.")
    max_tokens: int = Field(default=16384, ge=8, description="Read at most this much of the texts.")
    next_tokens: bool = Field(
        default=False,
        description="Also compare the next tokens over these texts with the baseline's, checkpoint by checkpoint: KL divergence and top-1 "
        "agreement. Loads two checkpoints in transformers, after the trials.",
    )
    tasks: list[str] = Field(
        default=[], description="As `evaluate --tasks`: `fragile-knowledge`, `offline`, `hellaswag`, `gsm8k:8` …"
    )
    include_paths: list[str] = Field(default=[], description="Folders with task files of your own.")
    limit: int | None = Field(default=None, ge=1, description="At most this many items a task; all without it.")
    concurrency: int = Field(default=32, ge=1, description="Prompts in flight.")
    reuse: bool = Field(
        default=False,
        description="Take results of tasks and next tokens from earlier runs on this machine, where weights, tokenizer, engine, options and "
        "settings have the same sha256, and keep new ones: ~/.cache/prunebench/quality.",
    )


def _unique_labels(configurations: list[Configuration]) -> list[Configuration]:
    labels = [one.label for one in configurations]
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise ValueError(f"two have the label {twice}")
    return configurations


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
    baseline: str | None = Field(
        default=None,
        description="Label of the configuration that the others are compared with; default `[model]`'s checkpoint where "
        "`[prune]` makes others of it, else the first of `[[configurations]]`.",
    )
    model: Model | None = None
    prune: Prune | None = None
    configurations: Annotated[list[Configuration], AfterValidator(_unique_labels)] = []
    grid: dict[str, Factor] = Field(default={}, description="Factors, each with its levels.")
    grid_only: list[dict[str, Level]] = Field(
        default=[],
        description="These combinations of the grid's levels alone, each a table with a level of every factor; all without it.",
    )
    serve: Serve = Serve()
    protocol: Protocol = Protocol()
    energy: EnergySettings = EnergySettings()
    quality: QualitySettings | None = None
    workloads: Annotated[list[Workload], Field(min_length=1), AfterValidator(_unique_names)]

    @model_validator(mode="before")
    @classmethod
    def _with_grid(cls, data: Any) -> Any:
        return with_grid(data)

    @model_validator(mode="after")
    def _something_to_compare(self) -> Experiment:
        wanted = Prune() if self.prune is None else self.prune
        pruned = [one for one in self.configurations if one.is_pruned]
        if self.prune is not None and not wanted.makes_any and not pruned:
            raise ValueError("`prune`: give expansion_ratios, pruning_percentages, widths or remove_layers")
        if self.prune is None and not self.configurations:
            raise ValueError("give [prune] or [[configurations]]: what is to be compared")
        if self.model is None and (needing := [one.label for one in self.configurations if one.needs_model]):
            raise ValueError(
                f"`configurations`: {needing[0]} is of [model], which is missing: model.source, or a checkpoint"
            )
        if self.model is None and self.prune is not None:
            raise ValueError("`prune` needs [model], what to prune")
        labels = [one.label for one in self.configurations]
        if self.baseline is not None and self.prune is None and self.baseline not in labels:
            raise ValueError(f"`baseline`: there is no configuration {self.baseline}, only {', '.join(labels)}")
        self._check_text(wanted, pruned)
        return self

    def _check_text(self, wanted: Prune, pruned: list[Configuration]) -> None:
        criteria = [
            *(wanted.criterion if wanted.makes_any else ()),
            *(one.criterion or wanted.criterion[0] for one in pruned if one.width),
        ]
        refit = wanted.refit is not None or any(one.refit for one in pruned)
        depth = any([*wanted.remove_layers, *(one.remove_layers for one in pruned)])
        asking = needs_text(criteria, refit=refit, depth=depth)
        if asking and not wanted.calibration:
            key = asking.removeprefix("--").replace("remove-layers", "remove_layers")
            raise ValueError(f"`prune`: {key} needs a text: calibration = [FILE]")
        if wanted.calibration and not asking:
            raise ValueError(
                f"`prune`: calibration: only the criteria {needing_text()}, refit and remove_layers use a text"
            )

    @property
    def source(self) -> Path:
        """`[model]`'s checkpoint, for what was found to need it."""
        assert self.model is not None  # noqa: S101 - checked with the file
        return self.model.source

    def asked(self, label: str) -> Configuration:
        """A configuration's settings, with what `[serve]` shares; those of what `[prune]` makes are `[serve]`'s alone."""
        own = next((one for one in self.configurations if one.label == label), Configuration(label=label))
        return own.beneath(self.serve.engine, self.serve.options, self.serve.environment)
