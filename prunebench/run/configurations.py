"""The configurations of a run: the source as the baseline, and every width pruned from it."""

from __future__ import annotations

import json
from pathlib import Path

from prunebench.calibration.overlap import shared_lines
from prunebench.calibration.text_calibration import TextCalibration, require_transformers
from prunebench.experiment.file import Experiment
from prunebench.quality.suites import measured_texts
from prunebench.run.run_writer import RunWriter
from prunebench.terminal.progress import Steps
from pruner.inspection import Inspection, TargetRow, inspect_checkpoint
from pruner.output.manifest import Manifest, PrunedCheckpoint
from pruner.prune import prune
from pruner.scoring.recipe import output_prefixes
from reports.analysis.roofline import shape_of
from reports.document.console import Console
from reports.runs.records import ConfigurationInfo
from server.settings import ServeSettings, check_settings


def check_configurations(experiment: Experiment) -> None:
    """Check for what would stop every configuration, before there is a run folder.

    Raises PruneError, ServeError or EngineError naming the target, key or option to fix.
    """
    source, wanted = experiment.model.source, experiment.prune
    inspect_source(experiment)
    if wanted.calibration:
        require_transformers()
    settings = ServeSettings(checkpoint=source, engine=experiment.serve.engine, engine_options=experiment.serve.options)
    check_settings(settings).make(source, settings.engine_options)


def inspect_source(experiment: Experiment) -> Inspection:
    """The unpruned checkpoint and what will be made of it, from headers. Raises PruneError."""
    wanted = experiment.prune
    return inspect_checkpoint(
        experiment.model.source, wanted.targets(), remove_layers=wanted.remove_layers, multiple_of=wanted.multiple_of
    )


def baseline_label(found: Inspection) -> str:
    """The source's, by what it has."""
    return f"width-{found.width}"


def pruned_labels(experiment: Experiment, found: Inspection) -> dict[str, TargetRow]:
    """The labels of what will be pruned, widest first; a target equal to the source's width is the source itself."""
    wanted = experiment.prune
    prefixes = output_prefixes(wanted.criterion, refit=wanted.refit is not None)
    rows = {row.name: row for row in sorted(found.targets, key=lambda row: (-row.width, -row.layers))}
    return {
        f"{prefix}{name}": row
        for name, row in rows.items()
        if name != baseline_label(found)
        for prefix in (prefixes if row.width < found.width else [""])
    }


def prepare_configurations(experiment: Experiment, writer: RunWriter, console: Console) -> dict[str, ConfigurationInfo]:
    """Prune every missing width and describe every configuration, widest first, by label.

    A target equal to the source's width is the source itself. Checkpoints and facts of an earlier
    attempt at this run are kept. Raises PruneError before anything is written.
    """
    source = experiment.model.source
    before = writer.stored_configurations()
    found = inspect_source(experiment)
    configurations = [_describe(experiment, found, source, None)]
    pruned = _prune(experiment, found, writer.checkpoints, console)
    configurations += [
        _describe(experiment, inspect_checkpoint(one.folder, []), one.folder, one.manifest) for one in pruned
    ]
    configurations.sort(key=lambda info: (not info.is_baseline, -info.width, -info.parameters))
    kept = {info.label: _updated(before.get(info.label, info), info.checkpoint) for info in configurations}
    for info in kept.values():
        writer.write_configuration(info)
    return kept


def _updated(info: ConfigurationInfo, checkpoint: str) -> ConfigurationInfo:
    """The saved facts with the checkpoint's present path: a run folder may have been moved."""
    return info.model_copy(update={"checkpoint": checkpoint})


def _prune(experiment: Experiment, found: Inspection, folder: Path, console: Console) -> list[PrunedCheckpoint]:
    wanted = experiment.prune
    if not pruned_labels(experiment, found):
        return []
    with Steps(console, "pruning") as steps:
        calibration = _calibration(experiment, steps)
        return prune(
            experiment.model.source,
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
        )


def _calibration(experiment: Experiment, steps: Steps) -> TextCalibration | None:
    """The text of the experiment; prints a warning if quality is measured on a part of it."""
    wanted = experiment.prune
    if not wanted.calibration:
        return None
    calibration = TextCalibration(
        experiment.model.source, wanted.calibration, wanted.criterion, refit=wanted.refit, progress=steps.reach
    )
    for warning in shared_lines(calibration.files, measured_texts(experiment.quality)):
        steps.print(f"prune.calibration: {warning}")
    return calibration


def _describe(
    experiment: Experiment, found: Inspection, checkpoint: Path, manifest: Manifest | None
) -> ConfigurationInfo:
    label = baseline_label(found) if manifest is None else checkpoint.name
    return ConfigurationInfo(
        label=label,
        is_baseline=manifest is None,
        model=f"{experiment.model.source.name}-{label}",
        checkpoint=str(checkpoint.resolve()),
        width=found.width,
        hidden_size=found.hidden_size,
        expansion_ratio=found.width / found.hidden_size,
        pruning_percentage=0.0 if manifest is None else manifest.pruning_percentage,
        parameters=found.parameters,
        checkpoint_bytes=found.bytes,
        shape=shape_of(json.loads((checkpoint / "config.json").read_bytes())),
        engine=experiment.serve.engine,
        engine_options=experiment.serve.options,
        manifest=manifest,
    )
