"""Provenance: hashes of the source, the manifest, and whether a finished folder is the requested prune."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from pruner.checkpoint.anatomy import Mlp
from pruner.checkpoint.folder import CARD, CONFIG, INDEX, MANIFEST_NAME, Checkpoint
from pruner.checkpoint.tensors import BLOCK_BYTES
from pruner.errors import PruneError
from pruner.output.kept import Selection
from pruner.output.layout import Layout
from pruner.output.manifest import LayerCut, Manifest, SourceFile, WidthChange
from pruner.scoring.recipe import Recipe
from pruner.scoring.selection import TieBreak, kept_neurons, ties_at_cut


def prune_key(outputs: Sequence[tuple[Layout, Recipe]]) -> str:
    """The same for the same prune of the same source: what an interrupted calibration is known by."""
    parts = []
    for layout, recipe in outputs:
        shards = [(shard.name, shard.size, shard.modified_ns) for shard in layout.checkpoint.shards]
        text = recipe.calibration.model_dump_json() if recipe.calibration else ""
        parts.append(
            (recipe.criterion.name, recipe.seed, text, recipe.tie_break, layout.widths, len(layout.removed), shards)
        )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def hash_sources(checkpoint: Checkpoint, cancelled: Callable[[], bool]) -> list[SourceFile]:
    """Hash every file of the source that a pruned checkpoint depends on, by name; stop early once `cancelled()`."""
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
    layout: Layout,
    recipe: Recipe,
    selection: Selection,
    source_files: list[SourceFile],
    output_files: list[SourceFile],
) -> Manifest:
    """The manifest of one pruned checkpoint."""
    anatomy = layout.anatomy
    source_id, revision = layout.checkpoint.identity
    return Manifest(
        source_id=source_id,
        source_revision=revision,
        source_files=source_files,
        criterion=recipe.criterion.name,
        seed=recipe.seed,
        calibration=recipe.calibration,
        held_out=selection.held_out,
        tie_break=recipe.tie_break,
        target=layout.target,
        source_width=anatomy.width,
        width=layout.width,
        hidden_size=anatomy.hidden,
        expansion_ratio=layout.width / anatomy.hidden,
        pruning_percentage=100 * (1 - layout.width / anatomy.width),
        multiple_of=recipe.multiple_of,
        source_layers=anatomy.layers,
        removed_layers=list(selection.removed),
        width_changes=[WidthChange(key=k, source_width=n, width=layout.widths[k]) for k, n in anatomy.widths.items()],
        layers=[
            _layer_cut(mlp, selection, mlp.factor * layout.widths[mlp.key], recipe.tie_break) for mlp in layout.mlps
        ],
        output_files=output_files,
        tool_versions=_tool_versions(),
    )


def _layer_cut(mlp: Mlp, selection: Selection, width: int, tie_break: TieBreak) -> LayerCut:
    scores = selection.scores[mlp.prefix]
    digest = hashlib.sha256(kept_neurons(scores, width, tie_break).astype("<i8").tobytes()).hexdigest()
    return LayerCut(
        prefix=mlp.prefix,
        kept_sha256=digest,
        ties_at_cut=ties_at_cut(scores, width),
        calibration_tokens=selection.tokens.get(mlp.prefix),
    )


def _tool_versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    try:
        versions["prunebench"] = metadata.version("prunebench")
    except metadata.PackageNotFoundError:  # run from a checkout
        versions["prunebench"] = "not installed"
    return versions


def matching_manifest(folder: Path, layout: Layout, recipe: Recipe) -> Manifest:
    """The manifest of a finished folder, if that is the requested prune; the caller compares the source's hashes.

    Raises:
        PruneError: it is another prune, or incomplete.

    """
    advice = "remove it or choose another --output"
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())
    except (OSError, ValidationError) as error:
        raise PruneError(f"{folder}: is already there and has no readable {MANIFEST_NAME}; {advice}") from error
    widths = {change.key: change.width for change in manifest.width_changes}
    found = (manifest.criterion, manifest.seed, manifest.calibration, manifest.tie_break)
    shape = (widths, len(manifest.removed_layers))
    asked = (recipe.criterion.name, recipe.seed, recipe.calibration, recipe.tie_break)
    if (found, shape) != (asked, (layout.widths, len(layout.removed))):
        raise PruneError(
            f"{folder}: is already there and was pruned with other settings ({manifest.criterion}, {manifest.target}); {advice}"
        )
    for record in manifest.output_files:
        path = folder / record.name
        if not path.is_file() or path.stat().st_size != record.bytes:
            raise PruneError(f"{folder}: is already there but its {record.name} is missing or altered; {advice}")
    return manifest
