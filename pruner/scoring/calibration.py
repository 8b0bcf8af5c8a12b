"""Calibration: what a text feeds the MLPs. The pruner never runs a model: it takes figures and new weights as arrays."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from base.records import Record
from pruner.checkpoint.anatomy import Anatomy, Mlp
from pruner.scoring.selection import Indices

Refit = Literal["one-shot", "sequential"]
DEFAULT_REFIT: Refit = "one-shot"
Activation = Literal["norm", "unexplained", "norm x slope"]


class CalibrationFile(Record):
    """One file of calibration text."""

    name: str
    sha256: str
    kind: str  # text, rows, chats, or several of them
    items: int  # texts, rows and conversations


class CalibrationText(Record):
    """The text that was run through the model, and how. Fields with a default are new: None means recorded before them."""

    name: str  # of the file; of several, joined by commas
    sha256: str  # of the file; of several, over their own in order
    tokens: int  # run through the model for the figures, start tokens included
    sequence_tokens: int  # longest sequence, start token included
    dtype: str  # of weights and computation, e.g. "bfloat16"
    measured_with: dict[str, str]  # versions of torch and transformers, and the device
    files: list[CalibrationFile] = []
    held_out_tokens: int | None = None  # kept for measuring perplexity, never used for the figures
    refit: Refit | None = None  # how down projections were refitted, if they were
    ridge: float | None = None  # of the refit and of OBS errors: lambda as a share of the Gram matrix's diagonal
    ridge_of: Literal["median"] | None = None  # of that diagonal, neurons that are never fed aside; None: of its mean


class HeldOut(Record):
    """Perplexity on the part of the calibration text that was held out; null with a reason."""

    tokens: int  # scored
    perplexity_before: float | None
    perplexity_after: float | None
    reason: str | None = None


class RemovedLayer(Record):
    """A layer that was taken out, by its place in the source."""

    layer: int
    perplexity: float  # of a sample of the text without it and those that went before it


class LayerChoice(NamedTuple):
    """Layers to take out, and lists of an entry a layer that transformers works out where config.json lacks them."""

    removed: list[RemovedLayer]  # the first to go first
    per_layer: dict[str, list[Any]]


class Activity(Protocol):
    """What the text feeds the down projection of one MLP.

    mlp: the MLP. outputs: names of the outputs that this is for: in a sequential refit one, since what reaches a layer
    depends on how those before it were pruned. tokens: that reached the MLP; an expert may get none.
    """

    mlp: Mlp
    outputs: tuple[str, ...]
    tokens: int

    def figure(self, kind: Activation) -> NDArray[np.float64]:
        """[neurons].

        "norm": the L2 norm of a neuron's input over all tokens; "unexplained": the squared part of it that no linear
        combination of the other neurons' gives, 1 / [(G + lambda I)^-1]_ii, G = sum of h h^T over tokens; "norm x slope": the
        norm times that of the input times the gradient of the text's loss by it, the first order of what silencing it changes.
        """

    def keep(self, output: str, kept: Indices) -> Path | None:
        """Cut the MLP to `kept` in `output`. With a refit: the new down weights, .npy, float32 [hidden, kept]."""


class Calibration(Protocol):
    """Runs a text through the model."""

    @property
    def record(self) -> CalibrationText:
        """Its entry in the manifest; known before the model runs."""

    def choose_layers(self, count: int, work: Path) -> LayerChoice:
        """`count` layers that the model misses least; `work` as below. Raises PruneError if the model cannot be run."""

    def activities(
        self, anatomy: Anatomy, outputs: Mapping[str, Collection[int]], work: Path
    ) -> Generator[Activity, None, None]:
        """Every MLP, layer by layer, for every output; `keep` is called for all its outputs before the next one is drawn.

        outputs: names, and the layers that are removed from each: of those there is no activity. `work` may not exist yet.
        What an interrupted run of this very prune left there is used; what is written there stays until the outputs are
        finished, but for what is half done when it is closed. Raises PruneError if the model cannot be run.
        """

    def held_out(self, output: str) -> HeldOut:
        """What pruning cost; once all activities have been drawn."""
