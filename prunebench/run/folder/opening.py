"""Opening a run folder, new or to resume: what changed since the run was started, and what a killed runner left half written."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from base.errors import describe_os_error
from base.files import write_text
from prunebench.experiment.changes import Changes, checkpoint_changes, experiment_changes, hash_checkpoints, recorded_as
from prunebench.experiment.file import Experiment, ExperimentError
from prunebench.experiment.toml_text import TomlText
from prunebench.run.environment import describe_environment
from prunebench.run.folder.run_writer import RECORDS_SUFFIX, RunWriter, rename_aside
from prunebench.terminal.console import print_line
from pruner.output.manifest import SourceFile
from reports.compare.differences import between_environments
from reports.runs.run_folder import read_record


def open_folder(
    writer: RunWriter, experiment: Experiment, file: TomlText, *, resumed: bool, accept_changes: bool
) -> None:
    """Create the run folder or reopen it, and print what differs from the attempts before. Raises ExperimentError."""
    environment = describe_environment()
    cut_short: list[str] = []
    try:
        if resumed:
            cut_short = reopen(writer, experiment, file, accept_changes=accept_changes)
        else:
            writer.create(experiment, file.text)
    except OSError as error:
        raise ExperimentError(f"--output {writer.path}: {describe_os_error(error)}") from None
    print_line(f"{experiment.name} on {environment['processor']}, {environment['cores_usable']} cores")
    before = writer.folder.environment()
    before.pop("hosts", None)  # those of a cluster come and go
    for changed in between_environments(before, environment) if resumed else []:
        print_line(
            f"note: {changed.what} was {changed.before} when this run was started, and is {changed.after} now: "
            "trials before and after are not alike"
        )
    for cell in cut_short:
        print_line(f"note: {cell} was cut short; it is measured again, and its records are gone")


def reopen(writer: RunWriter, experiment: Experiment, file: TomlText, *, accept_changes: bool = False) -> list[str]:
    """Reopen a folder: experiment and checkpoint must be those it was started with; half-written files are removed.

    Accepted changes are recorded in run.json. Returns the names of the cells whose trial was cut short.
    """
    stored = writer.path / "experiment.json"
    if not stored.is_file() and not (writer.path / "trials").is_dir():
        raise ExperimentError(f"--resume: {writer.path} holds no run to continue")
    if not stored.is_file():  # killed while it was being made
        writer.create(experiment, file.text)
        return []
    changes = changes_since(writer, experiment)
    checkpoint = hash_checkpoints(experiment)
    changes.update(checkpoint_changes(_recorded_checkpoint(writer), checkpoint))
    changes.require_accepted(writer.path, accepted=accept_changes)
    if changes:
        _accept(writer, changes, checkpoint, experiment, file)
    for leftover in (writer.path / "trials").glob("*.partial"):
        shutil.rmtree(leftover)
    half_written = ("*.partial", "[cf]*s/*.json.partial", "idle/*.json.partial")
    for leftover in [file for pattern in half_written for file in writer.path.glob(pattern)]:
        leftover.unlink()
    for failure in (writer.path / "failures").glob("*.json"):
        # Killed between saving the trial and removing an earlier failure.
        if (writer.path / "trials" / failure.stem).exists():
            failure.unlink()
    cut_short = []
    for leftover in writer.broken_off():
        leftover.unlink()
        folder = leftover.with_name(leftover.name.removesuffix(RECORDS_SUFFIX))
        if not folder.exists():  # else it was killed between the trial's last byte and this
            cut_short.append(folder.name)
    return cut_short


def changes_since(writer: RunWriter, experiment: Experiment) -> Changes:
    """What differs from the experiment that the run was started with."""
    stored = writer.path / "experiment.json"
    if not stored.is_file():
        return Changes()
    return experiment_changes(recorded_as(read_record(stored, Experiment), experiment), experiment)


def _recorded_checkpoint(writer: RunWriter) -> Sequence[SourceFile]:
    """The files of the unpruned checkpoint when the run began; of earlier runs, those that a width was pruned from."""
    begun = writer.begun()
    if begun and begun.checkpoint:
        return begun.checkpoint
    manifests = [info.manifest for info in writer.stored_configurations().values() if info.manifest]
    return manifests[0].source_files if manifests else ()


def _accept(
    writer: RunWriter,
    changes: Changes,
    checkpoint: Sequence[SourceFile],
    experiment: Experiment,
    file: TomlText,
) -> None:
    """Record the changes, then replace the experiment; files that they make out of date are kept under another name."""
    if begun := writer.begun():
        trials = len(writer.folder.trial_folders())
        lines = (f"{words}, after {trials} trials" for words in changes.values())
        recorded = tuple(dict.fromkeys([*begun.accepted_changes, *lines]))
        writer.write(
            "run.json", begun.model_copy(update={"accepted_changes": recorded, "checkpoint": tuple(checkpoint)})
        )
    if any(key.startswith("checkpoint.") for key in changes) and writer.checkpoints == writer.path / "checkpoints":
        _keep_aside(writer.checkpoints)
    if changes.describes:
        _keep_aside(writer.path / "configurations")
        _keep_aside(writer.path / "quality")
        writer.make_folders()
    _keep_aside(writer.path / "experiment.toml")
    write_text(writer.path / "experiment.toml", file.text)
    _keep_aside(writer.path / "experiment.json")
    writer.write("experiment.json", experiment)


def _keep_aside(path: Path) -> None:
    if path.exists():
        rename_aside(path, "before")
