"""`pruning.json`: how a pruned checkpoint was made, in enough detail to repeat and to verify it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from base.records import Record
from pruner.scoring.calibration import CalibrationText, HeldOut, RemovedLayer
from pruner.scoring.selection import TieBreak


class SourceFile(Record):
    """One file of a checkpoint folder, source or pruned; `name` is its path in the folder."""

    name: str
    bytes: int
    sha256: str


class LayerCut(Record):
    """One MLP's cut. `kept_sha256` is over the ascending kept indices as little-endian int64."""

    prefix: str  # e.g. "model.layers.0.mlp"
    kept_sha256: str
    ties_at_cut: int  # neurons that share the score of the last one kept
    calibration_tokens: int | None = None  # that reached it; 0: an expert scored by its weights alone, not refitted


class WidthChange(Record):
    """One config key: a dense checkpoint has one, mixture-of-experts may have one more for shared experts or dense layers."""

    key: str  # as in config.json, e.g. "moe_intermediate_size"
    source_width: int
    width: int


class Manifest(Record):
    """All of `pruning.json`."""

    schema_version: Literal[1] = 1
    source_id: str  # folder name or hub id
    source_revision: str | None  # hub commit, if known
    source_files: list[SourceFile]
    criterion: str  # name of one of `pruner.scoring.criteria`
    seed: int | None  # None unless the criterion draws scores at random
    calibration: CalibrationText | None = None  # None unless the criterion or a refit needs one
    held_out: HeldOut | None = (
        None  # what pruning cost; None without a calibration text, or from before this was measured
    )
    tie_break: TieBreak
    target: str  # as given: "ratio 3.6", "percentage 10", "width 7373", "remove 2 layers"
    source_width: int
    width: int
    hidden_size: int
    expansion_ratio: float  # width / hidden_size
    pruning_percentage: float  # removed share of the source width
    multiple_of: int
    source_layers: int | None = None  # None: from before layers could be removed
    removed_layers: list[RemovedLayer] = []  # in the order in which they were chosen
    width_changes: list[WidthChange] = []  # every key; the first is source_width -> width above
    layers: list[LayerCut]
    output_files: list[SourceFile]
    tool_versions: dict[str, str]


@dataclass(frozen=True)
class PrunedCheckpoint:
    """A finished checkpoint on disk."""

    folder: Path
    width: int
    manifest: Manifest
