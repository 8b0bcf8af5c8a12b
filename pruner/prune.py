"""One prune, from start to end: lay out, score, write, verify, rename."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pruner.checkpoint.anatomy import Anatomy, find_mlps
from pruner.checkpoint.folder import MANIFEST_NAME, Checkpoint, open_checkpoint
from pruner.errors import PruneError, disk_errors
from pruner.output.card import model_card
from pruner.output.kept import Choose, Selection, chooser
from pruner.output.layout import Layout, lay_out
from pruner.output.manifest import Manifest, PrunedCheckpoint, SourceFile
from pruner.output.provenance import Recipe, hash_sources, make_manifest, matching_manifest
from pruner.output.staging import (
    finish,
    locked,
    partial_folder,
    refuse_inside,
    remove_work,
    require_space,
    sync_folders,
    work_folder,
)
from pruner.output.verifying import verified_bytes, verify
from pruner.output.writing import HashedFile, write_outputs
from pruner.scoring.calibration import Calibration
from pruner.scoring.criteria import find_criterion, needing_text
from pruner.scoring.scoring import Advance, score_weights, scoring_bytes, weigh
from pruner.scoring.selection import TieBreak, kept_neurons
from pruner.scoring.targets import Target, require_targets

Announce = Callable[[int, int], None]  # bytes to write, bytes free on that disk
Progress = Callable[[int, int], None]  # bytes done, bytes in all


def prune(
    source: Path,
    output: Path,
    targets: Sequence[Target],
    *,
    criterion: str = "maw",
    seed: int = 0,
    calibration: Calibration | None = None,
    multiple_of: int = 1,
    tie_break: TieBreak = "stable",
    tensor_parallel: int = 1,
    announce: Announce | None = None,
    progress: Progress | None = None,
) -> list[PrunedCheckpoint]:
    """Write one narrower checkpoint per distinct width to `output`/width-W; returns them in the order of the targets.

    The source's MLPs are read twice and the rest of it once, whatever the number of targets, and memory does not grow with
    the model. A folder appears whole and verified, or not at all. An existing folder is kept if its manifest names this very
    prune (same source bytes, criterion, seed, tie-break and widths) and all its files are there; otherwise it is an error.

    criterion: a name in `pruner.scoring.criteria`. calibration: required by criteria that use a text, and what refits the
    down projections; the model runs once everything else has been checked. If that is stopped, `output` keeps the layers
    that are done in `calibration-….partial`, and the same prune goes on from there. tensor_parallel: refuse widths that this number of GPUs cannot share. announce: called
    once, before the first byte is written, and only if something will be. progress: called in the calling thread.

    Raises:
        PruneError: an error that the user can fix; no checkpoint is then left half-written in `output`.

    """
    recipe = _checked_recipe(criterion, seed, calibration, multiple_of, tie_break)
    if tensor_parallel < 1:
        raise PruneError(f"--tensor-parallel {tensor_parallel}: must be at least 1")
    require_targets(targets)
    with disk_errors(output):
        checkpoint = open_checkpoint(source)
        anatomy = find_mlps(checkpoint)
        layouts = lay_out(checkpoint, anatomy, targets, multiple_of, tensor_parallel)
        refuse_inside(output, source)
        with locked(output):
            return _Job(checkpoint, anatomy, recipe, calibration, output).run(layouts, announce, progress)


def _checked_recipe(
    name: str, seed: int, calibration: Calibration | None, multiple_of: int, tie_break: TieBreak
) -> Recipe:
    criterion = find_criterion(name)
    if tie_break not in get_args(TieBreak):
        raise PruneError(f"--tie-break {tie_break}: must be one of {', '.join(get_args(TieBreak))}")
    if seed < 0:
        raise PruneError(f"--seed {seed}: must not be negative")
    check_text_use(name, text=calibration is not None, refit=bool(calibration and calibration.record.refit))
    return Recipe(
        criterion=criterion,
        seed=seed if criterion.seeded else None,
        calibration=calibration.record if calibration else None,
        tie_break=tie_break,
        multiple_of=multiple_of,
    )


def check_text_use(criterion: str, *, text: bool, refit: bool) -> None:
    """Raises PruneError if a text is needed and missing, or there and of no use."""
    found = find_criterion(criterion)
    if not text and (found.calibrated or refit):
        raise PruneError(f"{'--refit' if refit else f'--criterion {criterion}'}: needs a text, --calibration FILE")
    if text and not (found.calibrated or refit):
        raise PruneError(f"--calibration: only --criterion {needing_text()} and --refit use a text")


@dataclass(frozen=True)
class _Job:
    """One source, one recipe, one output folder."""

    checkpoint: Checkpoint
    anatomy: Anatomy
    recipe: Recipe
    calibration: Calibration | None
    output: Path

    def run(
        self, layouts: list[Layout], announce: Announce | None, progress: Progress | None
    ) -> list[PrunedCheckpoint]:
        """Keep the finished checkpoints and make the missing ones. Everything is checked before the first byte is written."""
        manifests = {
            layout.name: matching_manifest(self.output / layout.name, layout, self.recipe)
            for layout in layouts
            if (self.output / layout.name).exists()
        }
        missing = [layout for layout in layouts if layout.name not in manifests]
        needed, free = require_space(self.output, missing)
        if missing and announce:
            announce(needed, free)
        advance = self._counter(missing, progress)
        selections, source_files = self._read_source(missing, advance)
        self._check_same_source(manifests, source_files)
        if missing:
            manifests |= self._make(missing, selections, source_files, advance)
            remove_work(self.output)
        return [PrunedCheckpoint(self.output / one.name, one.width, manifests[one.name]) for one in layouts]

    def _counter(self, missing: list[Layout], progress: Progress | None) -> Advance:
        total = sum(sum(layout.shard_sizes.values()) + verified_bytes(layout) for layout in missing)
        total += scoring_bytes(self.checkpoint, self.anatomy, self.recipe.criterion) if missing else 0
        done = 0

        def advance(nbytes: int) -> None:
            nonlocal done
            done += nbytes
            if progress:
                progress(done, total)

        return advance

    def _read_source(self, missing: list[Layout], advance: Advance) -> tuple[dict[str, Selection], list[SourceFile]]:
        """Select and hash side by side: hashing keeps another core busy for about as long as scoring weights."""
        stop = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            hashes = pool.submit(hash_sources, self.checkpoint, stop.is_set)
            try:
                return self._select(missing, advance) if missing else {}, hashes.result()
            finally:
                stop.set()  # after an error, do not wait for the hashes of a large model

    def _select(self, missing: list[Layout], advance: Advance) -> dict[str, Selection]:
        """What stays in every missing output, by its name."""
        recipe = self.recipe
        scores = score_weights(self.checkpoint, self.anatomy, recipe.criterion, advance, seed=recipe.seed or 0)
        if self.calibration is None:
            return {layout.name: Selection(scores) for layout in missing}
        widths = {layout.name: layout.widths for layout in missing}
        selections = {name: Selection({}) for name in widths}
        work = work_folder(self.output, recipe.key(missing))
        for activity in self.calibration.activities(self.anatomy, tuple(widths), work):
            mlp = activity.mlp
            score = weigh(scores[mlp.prefix], activity, recipe.criterion)
            for name in activity.outputs:
                made = selections[name]
                made.scores[mlp.prefix], made.tokens[mlp.prefix] = score, activity.tokens
                kept = kept_neurons(score, mlp.factor * widths[name][mlp.key], recipe.tie_break)
                if down := activity.keep(name, kept):
                    made.downs[mlp.prefix] = down
        for name, made in selections.items():
            made.held_out = self.calibration.held_out(name)
        return selections

    def _check_same_source(self, finished: dict[str, Manifest], source_files: list[SourceFile]) -> None:
        for name, manifest in finished.items():
            if manifest.source_files != source_files:
                raise PruneError(
                    f"{self.output / name}: was pruned from another source; remove it or choose another --output"
                )

    def _make(
        self,
        missing: list[Layout],
        selections: dict[str, Selection],
        source_files: list[SourceFile],
        advance: Advance,
    ) -> dict[str, Manifest]:
        """Write all, verify all, then rename all: an error before the first rename leaves nothing."""
        choose = chooser(selections, self.recipe.tie_break)
        folders = {partial_folder(self.output, layout.name): layout for layout in missing}
        manifests = self._write(folders, choose, selections, source_files, advance)
        for folder, layout in folders.items():
            verify(folder, layout, choose, advance)
            sync_folders(folder)
        for folder in folders:
            finish(folder)
        return manifests

    def _write(
        self,
        folders: dict[Path, Layout],
        choose: Choose,
        selections: dict[str, Selection],
        source_files: list[SourceFile],
        advance: Advance,
    ) -> dict[str, Manifest]:
        cards = {
            folder: model_card(layout, self.recipe, selections[layout.name].held_out)
            for folder, layout in folders.items()
        }
        written = write_outputs(folders, cards, self.checkpoint, choose, advance)
        for shard in self.checkpoint.shards:
            shard.check_unchanged()
        manifests = {}
        for folder, layout in folders.items():
            manifest = make_manifest(layout, self.recipe, selections[layout.name], source_files, written[folder])
            with HashedFile(folder / MANIFEST_NAME) as file:
                file.write((manifest.model_dump_json(indent=2) + "\n").encode())
            manifests[layout.name] = manifest
        return manifests
