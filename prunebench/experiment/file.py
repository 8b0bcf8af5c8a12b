"""An experiment file as a whole: what to compare, load and measure. The keys of its tables are in `tables/`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from base.errors import UserError
from base.records import Record
from loadgen.workloads.base import Workload
from prunebench.experiment.tables.configuration import Configuration
from prunebench.experiment.tables.energy import EnergySettings
from prunebench.experiment.tables.grid import Factor, with_grid
from prunebench.experiment.tables.protocol import Protocol
from prunebench.experiment.tables.prune import Prune
from prunebench.experiment.tables.quality import QualitySettings
from prunebench.experiment.tables.serve import Serve
from prunebench.experiment.tables.settings import Level
from pruner.scoring.criteria import needing_text
from pruner.scoring.recipe import needs_text


class ExperimentError(UserError):
    """The experiment file, or what it names, cannot be used; one line that names the key."""


class Model(Record):
    """Where the unpruned checkpoint is. A relative path is relative to the experiment file."""

    source: Path = Field(
        description="The unpruned checkpoint: a folder, or `OWNER/NAME` on the hub; `run --model` takes its place."
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
