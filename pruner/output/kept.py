"""What stays of every tensor that is cut, in every output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruner.checkpoint.anatomy import Cut
from pruner.checkpoint.tensors import from_float32
from pruner.output.layout import Layout
from pruner.scoring.calibration import HeldOut, RemovedLayer
from pruner.scoring.criteria import Floats
from pruner.scoring.selection import Indices, TieBreak, kept_neurons


@dataclass
class Selection:
    """One output: its scores by MLP prefix, and what calibration adds, if it was pruned over a text."""

    scores: dict[str, Floats]
    tokens: dict[str, int] = field(default_factory=dict)  # that reached the MLP
    downs: dict[str, Path] = field(default_factory=dict)  # new down weights, .npy, float32 [hidden, kept]
    held_out: HeldOut | None = None
    removed: Sequence[RemovedLayer] = ()


@dataclass(frozen=True)
class Kept:
    """The rows (axis 0) or columns (axis 1) of one tensor that stay; `weights` [rows, kept] replace them after a refit."""

    axis: int
    indices: Indices
    weights: NDArray[np.float32] | None = None

    def part(self, block: NDArray[Any], row: int, dtype: str) -> NDArray[Any]:
        """What is written of a block of source rows that begins at `row`."""
        if self.weights is not None:
            return from_float32(self.weights[row : row + len(block)], dtype)
        if self.axis == 1:
            return np.take(block, self.indices, axis=1)  # several times faster than block[:, indices]
        first, stop = np.searchsorted(self.indices, [row, row + len(block)])
        return np.take(block, self.indices[first:stop] - row, axis=0)


Choose = Callable[[Cut, Layout], Kept]


def chooser(selections: Mapping[str, Selection], tie_break: TieBreak) -> Choose:
    """A choice by output, computed again for every tensor: a large model's selections would fill memory."""

    def choose(cut: Cut, layout: Layout) -> Kept:
        mlp, selection = cut.mlp, selections[layout.name]
        kept = kept_neurons(selection.scores[mlp.prefix], mlp.factor * layout.widths[mlp.key], tie_break)
        refitted = selection.downs.get(mlp.prefix) if cut.axis == 1 else None
        weights = None if refitted is None else np.load(refitted, mmap_mode="r")
        return Kept(cut.axis, np.concatenate([kept + part * mlp.neurons for part in range(cut.repeats)]), weights)

    return choose
