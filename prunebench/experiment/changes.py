"""What changed since a run began: its experiment, the files that it names, its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prunebench.experiment.file import Experiment, ExperimentError
from pruner.checkpoint.folder import open_checkpoint
from pruner.output.manifest import SourceFile
from pruner.output.provenance import hash_sources

_BLOCKS = "protocol.blocks"
_OF_A_CONFIGURATION = ("serve", "energy", "quality", "checkpoint", "configurations")


class Changes(dict[str, str]):
    """Changes in words, by their keys in the experiment or the checkpoint."""

    @property
    def describes(self) -> bool:
        """Whether they invalidate the saved facts of the configurations."""
        return any(key.split(".")[0] in _OF_A_CONFIGURATION for key in self)

    def require_accepted(self, folder: Path, *, accepted: bool) -> None:
        """Raises ExperimentError unless there are none, or the user accepts them and they keep the run's cells."""
        if not self:
            return
        others = [words for key, words in self.items() if _of_other_cells(key)]
        said = f"--resume: the experiment has changed since {folder} was started: {'; '.join(others or self.values())}"
        if others:
            raise ExperimentError(f"{said}. This is another run: give it another --output")
        if not accepted:
            blocks = "; more blocks are --blocks N" if _BLOCKS in self else ""
            raise ExperimentError(f"{said}. Add --accept-changes to continue all the same{blocks}")


def _of_other_cells(key: str) -> bool:
    """Whether a change makes other cells, or other prompts: an added or removed workload, a seed, or what decides the blocks."""
    return (
        key.split(".", maxsplit=1)[0] in {"name", "seed", "prune", "grid", "grid_only"}
        or key in {"workloads", "protocol.until", "protocol.min_blocks"}
        or key.endswith((".name", ".label"))
    )


def experiment_changes(before: Experiment, now: Experiment) -> Changes:
    """Settings that differ, and files whose content does."""
    old, new = _flat(before.model_dump(mode="json")), _flat(now.model_dump(mode="json"))
    keys = [key for key in old | new if old.get(key) != new.get(key)]
    changes = Changes({key: _words(key, old.get(key), new.get(key)) for key in keys})
    names, were = ([workload.name for workload in one.workloads] for one in (now, before))
    if names != were and sorted(names) == sorted(were):
        changes["workloads"] = "the order of the workloads"
    return changes


def checkpoint_changes(before: Sequence[SourceFile], now: Sequence[SourceFile]) -> Changes:
    """Files of the checkpoint that differ; none where `before` was not recorded."""
    old, new = ({file.name: file.sha256 for file in files} for files in (before, now))
    names = [name for name in old | new if old.get(name) != new.get(name)] if before else []
    ends = {name: "is new" if name not in old else "is gone" if name not in new else "has changed" for name in names}
    return Changes({f"checkpoint.{name}": f"{name} of the checkpoint {end}" for name, end in ends.items()})


def hash_checkpoint(source: Path) -> list[SourceFile]:
    """The sha256 of every file that the pruner reads. Raises what the pruner raises."""
    return hash_sources(open_checkpoint(source), lambda: False)


def hash_checkpoints(experiment: Experiment, of_model: Sequence[SourceFile] | None = None) -> list[SourceFile]:
    """Those of `[model]`, unless they are known, then those of configurations that name another checkpoint, after their labels."""
    if of_model is None:
        of_model = [] if experiment.model is None else hash_checkpoint(experiment.source)
    named = [(one.label, Path(one.checkpoint)) for one in experiment.configurations if one.checkpoint]
    return [*of_model] + [
        file.model_copy(update={"name": f"{label}/{file.name}"})
        for label, folder in named
        for file in hash_checkpoint(folder)
    ]


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Leaves by their dotted keys; workloads are keyed by their names, configurations by their labels."""
    if isinstance(value, list) and (key := {"workloads": "name", "configurations": "label"}.get(path)):
        value = {one[key]: one for one in value}
    if not isinstance(value, Mapping) or not value:
        return {path: value}
    return {
        k: leaf for key, inner in value.items() for k, leaf in _flat(inner, f"{path}.{key}" if path else key).items()
    }


def _words(key: str, old: Any, new: Any) -> str:
    if key.endswith(".file_sha256"):
        return f"{key.removesuffix('.file_sha256')}: the content of its file"
    was, now = ("not set" if value is None else value for value in (old, new))
    return f"{key} was {was}, is {now}"


def recorded_as(before: Experiment, now: Experiment) -> Experiment:
    """`before` with the sha256 of `now`'s files where its run did not record one yet."""
    files = {workload.name: workload.file_sha256 for workload in now.workloads}
    workloads = [
        w if w.file_sha256 else w.model_copy(update={"file_sha256": files.get(w.name)}) for w in before.workloads
    ]
    return before.model_copy(update={"workloads": workloads})
