"""The configurations of a run: checked, pruned where that makes them, and described."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from base.errors import UserError
from prunebench.calibration.overlap import shared_lines
from prunebench.calibration.text_calibration import TextCalibration, require_transformers
from prunebench.experiment.file import Experiment, ExperimentError
from prunebench.experiment.plan import Planned, Pruning, inspected, plan_configurations
from prunebench.experiment.tables.prune import Prune
from prunebench.experiment.tokenizers import tokenizer_sha256
from prunebench.experiment.treatment import treatment
from prunebench.quality.suites import measured_texts
from prunebench.run.folder.run_writer import RunWriter
from prunebench.terminal.progress import Steps
from pruner.output.manifest import Manifest
from pruner.prune import prune
from pruner.scoring.calibration import Refit
from pruner.scoring.recipe import needs_text
from reports.analysis.energy.roofline import shape_of
from reports.document.console import Console
from reports.runs.records.configuration import ConfigurationInfo, ModelShape
from server.engines.registry import AUTO
from server.settings import ServeSettings, check_settings


def check_configurations(experiment: Experiment) -> list[Planned]:
    """The plan, checked for what would stop any configuration, before there is a run folder.

    Raises PruneError, ServeError, EngineError or ExperimentError naming the target, key or option to fix.
    """
    plan = plan_configurations(experiment)
    if experiment.prune is not None and experiment.prune.calibration:
        require_transformers()
    of_file = {one.label for one in experiment.configurations}
    checked: list[tuple[object, ...]] = []
    for planned in plan:
        one, source = planned.asked, planned.source
        settings = (one.engine, one.options, one.speculative is not None, source)
        if source is None or one.command is not None or settings in checked:
            continue
        checked.append(settings)
        try:
            served = ServeSettings(checkpoint=source, engine=one.engine or AUTO, engine_options=one.options)
            engine = check_settings(served)
            engine.make(source, one.options)
        except UserError as error:
            if planned.label not in of_file:
                raise
            raise ExperimentError(f"configuration {planned.label}: {error}") from None
        if one.speculative is not None and engine.draft_options is None:
            raise ExperimentError(
                f"configuration {planned.label}: speculative: the {engine.name} engine has no speculative decoding, vllm has"
            )
    return plan


def prepare_configurations(experiment: Experiment, writer: RunWriter, console: Console) -> dict[str, ConfigurationInfo]:
    """Prune what is missing and describe every configuration, in the order of the plan, by label.

    Checkpoints and facts of an earlier attempt at this run are kept. Raises PruneError before anything is written.
    """
    before = writer.stored_configurations()
    plan = plan_configurations(experiment)
    manifests = _prune(experiment, plan, writer.checkpoints, console)
    baseline = next(planned for planned in plan if planned.is_baseline)
    kept = {}
    for planned in plan:
        place = planned.pruning.place if planned.pruning else None
        folder = planned.source if place is None else writer.checkpoints / place
        info = _describe(planned, baseline, folder, manifests[place] if place else None)
        draft = str((writer.checkpoints / planned.draft.place).resolve()) if planned.draft else None
        kept[info.label] = _updated(before.get(info.label, info), info.checkpoint, draft)
        writer.write_configuration(kept[info.label])
    return kept


def _updated(info: ConfigurationInfo, checkpoint: str | None, draft: str | None) -> ConfigurationInfo:
    """The saved facts with the checkpoints' present paths: a run folder may have been moved."""
    return info.model_copy(update={"checkpoint": checkpoint, "draft": draft})


def _prune(experiment: Experiment, plan: Sequence[Planned], folder: Path, console: Console) -> dict[str, Manifest]:
    """The manifests of all pruned checkpoints, by their places in `folder`."""
    pruned = [one for planned in plan for one in (planned.pruning, planned.draft) if one]
    if not pruned:
        return {}
    wanted = experiment.prune or Prune()
    manifests = {}
    with Steps(console, "pruning") as steps:
        if not all(one.is_own for one in pruned):
            calibration = _calibration(experiment, wanted.criterion, wanted.refit, wanted.remove_layers, steps)
            for done in prune(
                experiment.source,
                folder,
                wanted.targets(),
                remove_layers=wanted.remove_layers,
                leave_out_source=True,
                criterion=wanted.criterion,
                seed=wanted.seed,
                calibration=calibration,
                multiple_of=wanted.multiple_of,
                tie_break=wanted.tie_break,
                progress=steps.bytes_done,
            ):
                manifests[done.folder.name] = done.manifest
        for own in _alike([one for one in pruned if one.is_own]):
            first, targets = own[0], list(dict.fromkeys(target for one in own for target in one.targets))
            criteria = [first.criterion] if targets else []
            place = folder / Path(first.place).parent
            for done in prune(
                experiment.source,
                place,
                targets,
                remove_layers=first.remove_layers,
                criterion=first.criterion,
                seed=wanted.seed,
                calibration=_calibration(experiment, criteria, first.refit, first.remove_layers, steps),
                tie_break=wanted.tie_break,
                progress=steps.bytes_done,
            ):
                manifests[done.folder.relative_to(folder).as_posix()] = done.manifest
    return manifests


def _alike(own: Sequence[Pruning]) -> list[list[Pruning]]:
    """In groups that one prune makes: a recipe and depth, and several widths or none."""
    groups: dict[tuple[object, ...], list[Pruning]] = {}
    for one in own:
        groups.setdefault((one.criterion, one.refit, one.remove_layers, bool(one.targets)), []).append(one)
    return list(groups.values())


def _calibration(
    experiment: Experiment, criteria: Sequence[str], refit: Refit | None, remove_layers: Sequence[int], steps: Steps
) -> TextCalibration | None:
    """The text, where this prune uses one; prints a warning if quality is measured on a part of it."""
    files = experiment.prune.calibration if experiment.prune else []
    if not files or not needs_text(criteria, refit=refit is not None, depth=any(remove_layers)):
        return None
    calibration = TextCalibration(experiment.source, files, criteria, refit=refit, progress=steps.reach)
    for warning in shared_lines(calibration.files, measured_texts(experiment.quality)):
        steps.print(f"prune.calibration: {warning}")
    return calibration


def _describe(planned: Planned, baseline: Planned, folder: Path | None, manifest: Manifest | None) -> ConfigurationInfo:
    """What is known before it is served."""
    asked = planned.asked
    found = inspected(folder) if folder is not None and folder != planned.source else planned.found
    alike = planned.is_served_alike == baseline.is_served_alike and planned.source == baseline.source
    return ConfigurationInfo(
        label=planned.label,
        is_baseline=planned.is_baseline,
        model=asked.model if folder is None or asked.command is not None else f"{_name(planned)}-{planned.label}",
        checkpoint=None if folder is None else str(folder.resolve()),
        width=found and found.width,
        hidden_size=found and found.hidden_size,
        expansion_ratio=found and found.width / found.hidden_size,
        pruning_percentage=manifest.pruning_percentage if manifest else 0.0 if folder else None,
        parameters=found and found.parameters,
        checkpoint_bytes=found and found.bytes,
        tokenizer_sha256=tokenizer_sha256(folder),
        treatment=treatment(planned, baseline),
        levels=asked.levels,
        pruned_alone=alike,
        shape=None if folder is None or asked.options.get("quantization", "none") != "none" else _shape(folder),
        engine=asked.engine or "",
        engine_options=asked.options,
        environment=asked.environment,
        power_limit_w=asked.power_limit_w,
        clock_mhz=asked.clock_mhz,
        url=asked.url,
        command=asked.command,
        manifest=manifest,
    )


def _shape(folder: Path) -> ModelShape | None:
    """Of a checkpoint whose weights have the data type that its engine reports: of a quantized one it would mislead."""
    config = json.loads((folder / "config.json").read_bytes())
    return None if "quantization_config" in config else shape_of(config)


def _name(planned: Planned) -> str:
    return planned.source.name if planned.source is not None else "model"
