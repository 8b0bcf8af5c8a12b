"""What an experiment compares: every configuration with its checkpoint and size, worked out from headers before anything is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.filesize import decimal

from prunebench.experiment.file import Experiment, ExperimentError
from prunebench.experiment.tables.configuration import Configuration
from prunebench.experiment.tables.prune import Prune
from pruner.errors import PruneError
from pruner.inspection import Inspection, TargetRow, inspect_checkpoint
from pruner.scoring.calibration import Refit
from pruner.scoring.recipe import output_prefixes
from pruner.scoring.targets import Target


@dataclass(frozen=True)
class Pruning:
    """How a checkpoint is made of `[model]`'s, and its place in the folder of checkpoints."""

    criterion: str
    refit: Refit | None
    row: TargetRow
    place: str
    targets: tuple[Target, ...] = ()  # those of a configuration's own; empty among those that `[prune]` makes
    remove_layers: tuple[int, ...] = ()

    @property
    def is_own(self) -> bool:
        """Whether a configuration asks for it, and not `[prune]`."""
        return bool(self.targets or self.remove_layers)

    @property
    def makes(self) -> tuple[str, Refit | None, dict[str, int], int]:
        """What distinguishes two of them."""
        return self.criterion, self.refit, self.row.widths, self.row.layers


@dataclass(frozen=True)
class Planned:
    """One configuration. `asked` has what `[serve]` shares; `source` is its checkpoint, or what that is pruned from."""

    asked: Configuration
    source: Path | None  # None: only the server has it
    found: Inspection | None  # of `source`; None: the pruner cannot read it
    pruning: Pruning | None = None
    is_baseline: bool = False
    draft: Pruning | None = None  # of the model that proposes tokens to it

    @property
    def label(self) -> str:
        """Its name."""
        return self.asked.label

    @property
    def is_served_alike(self) -> tuple[object, ...]:
        """How it is served: the same for configurations that differ in their checkpoints alone."""
        one = self.asked
        return (
            one.url,
            one.command,
            one.model,
            one.engine,
            one.options,
            one.environment,
            one.gpu_limits,
            one.speculative,
        )

    def is_same(self, other: Planned) -> bool:
        """Whether both are one thing under two labels."""
        made = [one.pruning and one.pruning.makes for one in (self, other)]
        return (self.is_served_alike, self.source, made[0]) == (other.is_served_alike, other.source, made[1])

    def words(self) -> str:
        """For people: what it is and how large."""
        if self.asked.url is not None:
            return f"the server at {self.asked.url}"
        parts = []
        if self.pruning is not None and self.found is not None:
            row = self.pruning.row
            depth = "" if row.layers == self.found.layers else f"{row.layers} of {self.found.layers} layers, "
            aligned = "" if 64 in row.aligned_to else ", not a multiple of 64"
            parts.append(f"{row.width}, ratio {row.expansion_ratio:.3g}, {depth}{decimal(row.bytes)}{aligned}")
        elif self.found is not None:
            baseline = ", the baseline" if self.is_baseline else ""
            parts.append(f"{self.found.width}{baseline}, {decimal(self.found.bytes)}")
        elif self.source is not None:
            parts.append(f"{self.source.name}")
        if self.asked.command is not None:
            parts.append(f"by {self.asked.command}")
        return ", ".join(parts)


def plan_configurations(experiment: Experiment) -> list[Planned]:
    """Every configuration, the baseline first, what `[prune]` makes widest first, the others as in the file.

    Raises PruneError or ExperimentError naming the key to fix.
    """
    model = inspect_model(experiment)
    every: list[Planned] = []
    if model is not None and experiment.prune is not None and experiment.prune.makes_any:
        made = {f"width-{model.width}": None} | _made(experiment.prune, model)
        every += [Planned(experiment.asked(label), experiment.source, model, one) for label, one in made.items()]
    ready = [planned.pruning for planned in every if planned.pruning]
    labels = {planned.label for planned in every}
    for own in experiment.configurations:
        if own.label in labels:
            raise ExperimentError(
                f"configuration {own.label}: [prune] already makes one of that label; give it another"
            )
        every.append(_planned(experiment, experiment.asked(own.label), model, ready))
    return _with_baseline(experiment, every)


def inspect_model(experiment: Experiment) -> Inspection | None:
    """`[model]`'s checkpoint and what `[prune]` will make of it, from headers; None without `[model]`. Raises PruneError."""
    wanted = experiment.prune or Prune()
    if experiment.model is None:
        return None
    return inspect_checkpoint(
        experiment.source, wanted.targets(), remove_layers=wanted.remove_layers, multiple_of=wanted.multiple_of
    )


def _made(wanted: Prune, found: Inspection) -> dict[str, Pruning]:
    """What `[prune]` makes, by label, widest first; a target equal to the source's width is the source itself."""
    prefixes = output_prefixes(wanted.criterion, refit=wanted.refit is not None)
    rows = {row.name: row for row in sorted(found.targets, key=lambda row: (-row.width, -row.layers))}
    return {
        f"{prefix}{name}": Pruning(criterion, wanted.refit, row, f"{prefix}{name}")
        for name, row in rows.items()
        if name != f"width-{found.width}"
        for prefix, criterion in (
            zip(prefixes, wanted.criterion, strict=True) if row.width < found.width else [("", wanted.criterion[0])]
        )
    }


def _planned(experiment: Experiment, own: Configuration, model: Inspection | None, ready: list[Pruning]) -> Planned:
    made = _served(experiment, own, model, ready)
    width = own.speculative and own.speculative.width
    if width is None:
        return made
    if model is None:
        raise ExperimentError(f"configuration {own.label}: speculative.width prunes [model], and there is none")
    draft = own.model_copy(update={"width": width, "remove_layers": None})
    return replace(made, draft=_pruning(experiment, draft, model, ready))


def _served(experiment: Experiment, own: Configuration, model: Inspection | None, ready: list[Pruning]) -> Planned:
    if own.checkpoint is not None:
        folder = Path(own.checkpoint)
        return Planned(own, folder, inspected(folder))
    if not own.needs_model:
        return Planned(own, None, None)
    if not own.is_pruned or model is None:
        return Planned(own, experiment.source, model)
    return Planned(own, experiment.source, model, _pruning(experiment, own, model, ready))


def _pruning(experiment: Experiment, own: Configuration, model: Inspection, ready: list[Pruning]) -> Pruning:
    """How a configuration's own width and depth are made; one that `[prune]` makes as well is made once."""
    wanted = experiment.prune or Prune()
    targets = () if own.width is None else (Target("width", own.width),)
    layers = () if own.remove_layers is None else (own.remove_layers,)
    try:
        (row,) = inspect_checkpoint(experiment.source, targets, remove_layers=layers).targets
    except PruneError as error:
        raise ExperimentError(f"configuration {own.label}: {error}") from None
    if row.width == model.width and row.layers == model.layers:
        raise ExperimentError(f"configuration {own.label}: width {row.width} is [model]'s own; leave width out")
    criterion, refit = own.criterion or wanted.criterion[0], own.refit or wanted.refit
    recipe = "-".join([criterion, *(["refit", refit] if refit else [])])
    made = Pruning(criterion, refit, row, f"{recipe}/{row.name}", targets, layers)
    return next((one for one in ready if one.makes == made.makes), made)


def inspected(folder: Path) -> Inspection | None:
    """A checkpoint from its headers; None for one that the pruner cannot read, which may be served all the same."""
    try:
        return inspect_checkpoint(folder, [])
    except PruneError:
        return None


def _with_baseline(experiment: Experiment, every: list[Planned]) -> list[Planned]:
    labels = [planned.label for planned in every]
    wanted = labels[0] if experiment.baseline is None else experiment.baseline
    if wanted not in labels:
        raise ExperimentError(f"baseline: there is no configuration {wanted}, only {', '.join(labels)}")
    for number, one in enumerate(every):
        if same := next((other.label for other in every[:number] if other.is_same(one)), None):
            raise ExperimentError(f"configuration {one.label} is the same as {same}: leave one of them out")
    marked = [replace(p, is_baseline=p.label == wanted) for p in every]
    return sorted(marked, key=lambda planned: not planned.is_baseline)


def by_label(plan: list[Planned]) -> Mapping[str, Planned]:
    """The same by label."""
    return {planned.label: planned for planned in plan}
