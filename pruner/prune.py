"""One prune, from start to end: lay out, score, write, verify, rename."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from pruner.checkpoint.anatomy import Anatomy, find_mlps
from pruner.checkpoint.folder import MANIFEST_NAME, Checkpoint, open_checkpoint
from pruner.errors import PruneError, disk_errors
from pruner.output.card import model_card
from pruner.output.kept import Choose, Selection, chooser
from pruner.output.layout import Layout, lay_out
from pruner.output.manifest import Manifest, PrunedCheckpoint, SourceFile
from pruner.output.provenance import hash_sources, make_manifest, matching_manifest, prune_key
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
from pruner.scoring.calibration import Calibration, RemovedLayer
from pruner.scoring.recipe import Recipe, make_recipes
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
    criterion: str | Sequence[str] = "maw",
    seed: int = 0,
    calibration: Calibration | None = None,
    remove_layers: Sequence[int] = (),
    leave_out_source: bool = False,
    multiple_of: int = 1,
    tie_break: TieBreak = "stable",
    tensor_parallel: int = 1,
    announce: Announce | None = None,
    progress: Progress | None = None,
) -> list[PrunedCheckpoint]:
    """Write one narrower checkpoint per distinct width to `output`/width-W; returns them in the order of the targets.

    `remove_layers`: numbers of whole layers to remove; every width is made with each of them, to `output`/width-W-layers-L, and
    without targets the source's own, to `output`/layers-L. 0 is one of them that keeps all layers.
    leave_out_source: do not write what would be a copy of the source.

    Of several criteria, one per width and criterion, to `output`/CRITERION[-refit]-width-W.

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
    recipes = make_recipes(
        [criterion] if isinstance(criterion, str) else criterion,
        seed=seed,
        calibration=calibration.record if calibration else None,
        multiple_of=multiple_of,
        tie_break=tie_break,
        depth=any(remove_layers),
    )
    if tensor_parallel < 1:
        raise PruneError(f"--tensor-parallel {tensor_parallel}: must be at least 1")
    require_targets(targets, remove_layers)
    with disk_errors(output):
        checkpoint = open_checkpoint(source)
        anatomy = find_mlps(checkpoint)
        prefixes = [recipe.prefix for recipe in recipes]
        layouts = lay_out(
            checkpoint,
            anatomy,
            targets,
            remove_layers=remove_layers,
            multiple_of=multiple_of,
            tensor_parallel=tensor_parallel,
            prefixes=prefixes,
        )
        if leave_out_source:
            layouts = [layout for layout in layouts if layout.narrower or layout.removed]
        refuse_inside(output, source)
        with locked(output):
            return _Job(checkpoint, anatomy, dict(zip(prefixes, recipes, strict=True)), calibration, output).run(
                layouts, announce, progress
            )


@dataclass(frozen=True)
class _Job:
    """One source, its recipes by their prefixes, one output folder."""

    checkpoint: Checkpoint
    anatomy: Anatomy
    recipes: dict[str, Recipe]
    calibration: Calibration | None
    output: Path

    def run(
        self, layouts: list[Layout], announce: Announce | None, progress: Progress | None
    ) -> list[PrunedCheckpoint]:
        """Keep the finished checkpoints and make the missing ones. Everything is checked before the first byte is written."""
        manifests = {
            layout.name: matching_manifest(self.output / layout.name, layout, self._recipe(layout))
            for layout in layouts
            if (self.output / layout.name).exists()
        }
        missing = [layout for layout in layouts if layout.name not in manifests]
        needed, free = require_space(self.output, missing)
        if missing and announce:
            announce(needed, free)
        missing, removed = self._choose_layers(missing)
        advance = self._counter(missing, progress)
        selections, source_files = self._read_source(missing, advance)
        self._check_same_source(manifests, source_files)
        if missing:
            for layout in missing:
                selections[layout.name].removed = removed[: len(layout.removed)]
            manifests |= self._make(missing, selections, source_files, advance)
            remove_work(self.output)
        return [PrunedCheckpoint(self.output / one.name, one.width, manifests[one.name]) for one in layouts]

    def _recipe(self, layout: Layout) -> Recipe:
        return self.recipes[layout.prefix]

    def _choose_layers(self, missing: list[Layout]) -> tuple[list[Layout], list[RemovedLayer]]:
        """The layouts without the layers that the text decides on, and those layers, the first to go first."""
        count = max((len(layout.removed) for layout in missing), default=0)
        if self.calibration is None or not count:
            return missing, []
        removed, per_layer = self.calibration.choose_layers(count, self._work(missing))
        gone = [one.layer for one in removed]
        return [
            replace(layout, removed=tuple(sorted(gone[: len(layout.removed)])), per_layer=per_layer)
            for layout in missing
        ], removed

    def _work(self, missing: list[Layout]) -> Path:
        return work_folder(self.output, prune_key([(layout, self._recipe(layout)) for layout in missing]))

    def _counter(self, missing: list[Layout], progress: Progress | None) -> Advance:
        total = sum(sum(layout.shard_sizes.values()) + verified_bytes(layout) for layout in missing)
        used = {layout.prefix: self._recipe(layout).criterion for layout in missing}
        total += sum(scoring_bytes(self.checkpoint, self.anatomy, criterion) for criterion in used.values())
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
        scores = {
            prefix: score_weights(self.checkpoint, self.anatomy, recipe.criterion, advance, seed=recipe.seed or 0)
            for prefix, recipe in self.recipes.items()
            if any(layout.prefix == prefix for layout in missing)
        }
        if self.calibration is None:
            return {layout.name: Selection(scores[layout.prefix]) for layout in missing}
        layouts = {layout.name: layout for layout in missing}
        selections = {name: Selection({}) for name in layouts}
        removed = {name: layout.removed for name, layout in layouts.items()}
        with closing(self.calibration.activities(self.anatomy, removed, self._work(missing))) as activities:
            for activity in activities:
                mlp = activity.mlp
                for name in activity.outputs:
                    layout, made = layouts[name], selections[name]
                    recipe = self._recipe(layout)
                    score = weigh(scores[layout.prefix][mlp.prefix], activity, recipe.criterion)
                    made.scores[mlp.prefix], made.tokens[mlp.prefix] = score, activity.tokens
                    kept = kept_neurons(score, mlp.factor * layout.widths[mlp.key], recipe.tie_break)
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
        choose = chooser(selections, next(iter(self.recipes.values())).tie_break)
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
            folder: model_card(
                layout, self._recipe(layout), selections[layout.name].held_out, selections[layout.name].removed
            )
            for folder, layout in folders.items()
        }
        written = write_outputs(folders, cards, self.checkpoint, choose, advance)
        for shard in self.checkpoint.shards:
            shard.check_unchanged()
        manifests = {}
        for folder, layout in folders.items():
            manifest = make_manifest(
                layout, self._recipe(layout), selections[layout.name], source_files, written[folder]
            )
            with HashedFile(folder / MANIFEST_NAME) as file:
                file.write((manifest.model_dump_json(indent=2) + "\n").encode())
            manifests[layout.name] = manifest
        return manifests
