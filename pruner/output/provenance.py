"""Where a pruned checkpoint comes from: source hashes, its manifest, and whether one on disk is the one asked for."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from pruner.checkpoint.anatomy import Mlp
from pruner.checkpoint.folder import CARD, CONFIG, INDEX, Checkpoint
from pruner.checkpoint.tensors import BLOCK_BYTES
from pruner.errors import PruneError
from pruner.output.layout import Output
from pruner.output.manifest import (
    MANIFEST_NAME,
    CalibrationText,
    LayerCut,
    Manifest,
    SourceFile,
    WidthChange,
)
from pruner.scoring.criteria import Criterion, Floats
from pruner.scoring.selection import TieBreak, kept_neurons, ties_at_cut


@dataclass(frozen=True)
class Recipe:
    """How to prune, beside source and target.

    `seed` is None unless the criterion draws scores at random, `calibration` unless the criterion needs a text.
    """

    criterion: Criterion
    seed: int | None
    calibration: CalibrationText | None
    tie_break: TieBreak
    multiple_of: int


def hash_sources(checkpoint: Checkpoint, cancelled: Callable[[], bool]) -> list[SourceFile]:
    """Every file that a pruned checkpoint is made of, by name; cut short once `cancelled()`."""
    names = [CONFIG, *([INDEX] if checkpoint.index else []), *([CARD] if checkpoint.card else [])]
    names += [path.as_posix() for path in checkpoint.companions]
    paths = {name: checkpoint.folder / name for name in names} | {shard.name: shard.path for shard in checkpoint.shards}
    return [_hash_file(name, paths[name], cancelled) for name in sorted(paths)]


def _hash_file(name: str, path: Path, cancelled: Callable[[], bool]) -> SourceFile:
    sha256, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while not cancelled() and (data := file.read(BLOCK_BYTES)):
            sha256.update(data)
            size += len(data)
    return SourceFile(name=name, bytes=size, sha256=sha256.hexdigest())


def make_manifest(
    output: Output,
    recipe: Recipe,
    scores: dict[str, Floats],
    source_files: list[SourceFile],
    output_files: list[SourceFile],
) -> Manifest:
    """The manifest of one output, given what was read and what was written."""
    anatomy = output.anatomy
    source_id, revision = output.checkpoint.identity
    return Manifest(
        source_id=source_id,
        source_revision=revision,
        source_files=source_files,
        criterion=recipe.criterion.name,
        seed=recipe.seed,
        calibration=recipe.calibration,
        tie_break=recipe.tie_break,
        target=", ".join(map(str, output.targets)),
        source_width=anatomy.width,
        width=output.width,
        hidden_size=anatomy.hidden,
        expansion_ratio=output.width / anatomy.hidden,
        pruning_percentage=100 * (1 - output.width / anatomy.width),
        multiple_of=recipe.multiple_of,
        width_changes=[WidthChange(key=k, source_width=n, width=output.widths[k]) for k, n in anatomy.widths.items()],
        layers=[
            _layer_cut(mlp, scores[mlp.prefix], mlp.factor * output.widths[mlp.key], recipe) for mlp in anatomy.mlps
        ],
        output_files=output_files,
        tool_versions=_tool_versions(),
    )


def _layer_cut(mlp: Mlp, scores: Floats, width: int, recipe: Recipe) -> LayerCut:
    kept = kept_neurons(scores, width, recipe.tie_break)
    digest = hashlib.sha256(kept.astype("<i8").tobytes()).hexdigest()
    return LayerCut(prefix=mlp.prefix, kept_sha256=digest, ties_at_cut=ties_at_cut(scores, width))


def _tool_versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    try:
        versions["prunebench"] = metadata.version("prunebench")
    except metadata.PackageNotFoundError:  # run from a checkout
        versions["prunebench"] = "not installed"
    return versions


def matching_manifest(folder: Path, output: Output, recipe: Recipe) -> Manifest:
    """The manifest of a finished folder, if it is the prune that is asked for; source hashes are left to the caller.

    Raises:
        PruneError: it is something else, or not complete.

    """
    advice = "remove it or choose another --output"
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())
    except (OSError, ValidationError) as error:
        raise PruneError(f"{folder}: is already there and has no readable {MANIFEST_NAME}; {advice}") from error
    widths = {change.key: change.width for change in manifest.width_changes}
    theirs = (manifest.criterion, manifest.seed, manifest.calibration, manifest.tie_break, widths)
    if theirs != (recipe.criterion.name, recipe.seed, recipe.calibration, recipe.tie_break, output.widths):
        raise PruneError(
            f"{folder}: is already there and was pruned otherwise ({manifest.criterion}, {manifest.target}); {advice}"
        )
    for record in manifest.output_files:
        path = folder / record.name
        if not path.is_file() or path.stat().st_size != record.bytes:
            raise PruneError(f"{folder}: is already there but its {record.name} is missing or altered; {advice}")
    return manifest
