"""One command's work: plan, score, write, verify, rename."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pruner.checkpoint.anatomy import Anatomy, find_mlps
from pruner.checkpoint.folder import Checkpoint, open_checkpoint
from pruner.errors import PruneError, disk_errors
from pruner.output.card import model_card
from pruner.output.layout import Output, plan_outputs
from pruner.output.manifest import MANIFEST_NAME, Manifest, SourceFile
from pruner.output.provenance import Recipe, hash_sources, make_manifest, matching_manifest
from pruner.output.staging import claimed, finish, partial_folder, refuse_inside, require_space, sync_folders
from pruner.output.verifying import verified_bytes, verify
from pruner.output.writing import HashedFile, chooser, write_outputs
from pruner.scoring.criteria import Floats, find_criterion, refuse_calibration
from pruner.scoring.scoring import Advance, Calibration, score_neurons, scoring_bytes
from pruner.scoring.selection import TieBreak
from pruner.scoring.targets import Target, require_targets

Announce = Callable[[int, int], None]  # bytes that will be written, bytes that are free there
Progress = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True)
class PrunedCheckpoint:
    """A finished checkpoint on disk."""

    folder: Path
    width: int
    manifest: Manifest


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
    """Write one narrower checkpoint per distinct width to `output`/width-W; returns them in the order first asked for.

    The source's MLPs are read twice and the rest of it once, whatever the number of targets, and memory does not grow with
    the model. A folder appears whole and verified or not at all. One that is already there is kept if its manifest says that
    it is this very prune (same source bytes, criterion, seed, tie-break and widths) and its files are all there; anything
    else is an error. `calibration` is what the act criterion needs, and runs once everything else has been checked.
    `tensor_parallel` refuses widths that so many GPUs cannot share. `announce` hears once, before the first byte, how many
    bytes will be written and how many are free, unless nothing is left to write. `progress` gets (bytes done, bytes in all)
    in the calling thread.

    Raises:
        PruneError: something the user can mend; nothing new is then left behind in `output`.

    """
    recipe = _checked_recipe(criterion, seed, calibration, multiple_of, tie_break)
    if tensor_parallel < 1:
        raise PruneError(f"--tensor-parallel {tensor_parallel}: must be at least 1")
    require_targets(targets)
    with disk_errors(output):
        checkpoint = open_checkpoint(source)
        anatomy = find_mlps(checkpoint)
        outputs = plan_outputs(checkpoint, anatomy, targets, multiple_of, tensor_parallel)
        refuse_inside(output, source)
        with claimed(output):
            return _Job(checkpoint, anatomy, recipe, calibration, output).run(outputs, announce, progress)


def _checked_recipe(
    name: str, seed: int, calibration: Calibration | None, multiple_of: int, tie_break: TieBreak
) -> Recipe:
    criterion = find_criterion(name)
    if tie_break not in get_args(TieBreak):
        raise PruneError(f"--tie-break {tie_break}: must be one of {', '.join(get_args(TieBreak))}")
    if seed < 0:
        raise PruneError(f"--seed {seed}: must not be negative")
    if calibration is not None:
        refuse_calibration(criterion, "--calibration")
    elif criterion.calibrated:
        raise PruneError(f"--criterion {name}: needs a text, --calibration FILE")
    return Recipe(
        criterion=criterion,
        seed=seed if criterion.row_figure is None else None,
        calibration=calibration.record if calibration else None,
        tie_break=tie_break,
        multiple_of=multiple_of,
    )


@dataclass(frozen=True)
class _Job:
    """One source, one place, one recipe."""

    checkpoint: Checkpoint
    anatomy: Anatomy
    recipe: Recipe
    calibration: Calibration | None
    place: Path

    def run(
        self, outputs: list[Output], announce: Announce | None, progress: Progress | None
    ) -> list[PrunedCheckpoint]:
        """Keep what is there, write what is not; nothing is written before everything has been checked."""
        there = {output.name: output for output in outputs if (self.place / output.name).exists()}
        wanted = [output for output in outputs if output.name not in there]
        manifests = {name: matching_manifest(self.place / name, one, self.recipe) for name, one in there.items()}
        needed, free = require_space(self.place, wanted)
        if wanted and announce:
            announce(needed, free)
        advance = self._counter(wanted, progress)
        scores, source_files = self._read_source(score=bool(wanted), advance=advance)
        for name, manifest in manifests.items():
            if manifest.source_files != source_files:
                raise PruneError(
                    f"{self.place / name}: was pruned from another source; remove it or choose another --output"
                )
        if wanted:
            manifests |= self._write(wanted, scores, source_files, advance)
        return [PrunedCheckpoint(self.place / o.name, o.width, manifests[o.name]) for o in outputs]

    def _counter(self, wanted: list[Output], progress: Progress | None) -> Advance:
        total = sum(sum(output.shard_sizes.values()) + verified_bytes(output) for output in wanted)
        total += scoring_bytes(self.checkpoint, self.anatomy, self.recipe.criterion) if wanted else 0
        done = 0

        def advance(nbytes: int) -> None:
            nonlocal done
            done += nbytes
            if progress:
                progress(done, total)

        return advance

    def _read_source(self, *, score: bool, advance: Advance) -> tuple[dict[str, Floats], list[SourceFile]]:
        """Score and hash side by side: hashing keeps another core busy for about as long."""
        recipe = self.recipe
        stop = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            hashes = pool.submit(hash_sources, self.checkpoint, stop.is_set)
            try:
                scores: dict[str, Floats] = {}
                if score:
                    norms = self.calibration.norms(self.anatomy) if self.calibration else None
                    scores = score_neurons(
                        self.checkpoint, self.anatomy, recipe.criterion, advance, seed=recipe.seed or 0, norms=norms
                    )
                return scores, hashes.result()
            finally:
                stop.set()  # after an error nobody waits for the hashes of a large model

    def _write(
        self, wanted: list[Output], scores: dict[str, Floats], source_files: list[SourceFile], advance: Advance
    ) -> dict[str, Manifest]:
        """Write all, then verify all, then rename all: an error before the first rename leaves nothing."""
        choose = chooser(scores, self.recipe.tie_break)
        folders = {partial_folder(self.place, output.name): output for output in wanted}
        cards = {folder: model_card(output, self.recipe) for folder, output in folders.items()}
        records = write_outputs(folders, cards, self.checkpoint, choose, advance)
        for shard in self.checkpoint.shards:
            shard.check_unchanged()
        manifests = {}
        for folder, output in folders.items():
            manifest = make_manifest(output, self.recipe, scores, source_files, records[folder])
            with HashedFile(folder / MANIFEST_NAME) as file:
                file.write((manifest.model_dump_json(indent=2) + "\n").encode())
            verify(folder, output, choose, advance)
            sync_folders(folder)
            manifests[output.name] = manifest
        for folder in folders:
            finish(folder)
        return manifests
