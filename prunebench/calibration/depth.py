"""Which layers a model misses least: one after another is left out, the one without which perplexity stays lowest.

Each step is one pass over the layers. Streams of hidden states, in files, go through it side by side: one has every layer that
is still there; at each layer another one begins that leaves it out. This takes half as many runs of the text as there are
layers. This is the order of SLEB, arXiv 2402.09025. The last layer of a kind stays: a hybrid without attention, or with nothing
else, is another family of models, which engines may not run.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.files import write_text
from prunebench.calibration.model import Call, LayeredModel, perplexity
from prunebench.calibration.states import States
from pruner.errors import PruneError
from pruner.scoring.calibration import RemovedLayer

if TYPE_CHECKING:
    from torch import Tensor, nn

CHOICE_SEQUENCES = 8  # of the text, spread over it
_BASE = "base"


def choose_layers(
    model: LayeredModel, text: Sequence[list[int]], count: int, work: Path, tick: Callable[[int], None]
) -> list[RemovedLayer]:
    """The first `count` layers to go, in order, each with the perplexity of the text's sample without it and those before.

    Steps that an earlier run finished in `work` are read back. tick: called with the layers that have been passed, of all
    steps. Raises PruneError if the model cannot be run, or where only layers are left that are the last of their kind.
    """
    import torch

    sample = spread(text, CHOICE_SEQUENCES)
    stored = work / "removed.json"
    removed = [RemovedLayer.model_validate(row) for row in json.loads(stored.read_bytes())] if stored.is_file() else []
    try:
        with torch.inference_mode():
            while len(removed) < count:
                step = _Step(model, sample, [one.layer for one in removed], work / "states")
                removed.append(step.run(lambda done: tick(len(removed) * len(model.layers) + done)))
                write_text(stored, json.dumps([one.model_dump() for one in removed]))
    finally:
        shutil.rmtree(work / "states", ignore_errors=True)
    return removed[:count]


def spread(text: Sequence[list[int]], count: int) -> list[list[int]]:
    """At most `count` of the sequences, evenly spread."""
    return [text[place * len(text) // count] for place in range(count)] if len(text) > count else list(text)


def last_of_a_kind(per_layer: Mapping[str, list[Any]], layers: Collection[int]) -> set[int]:
    """The layers, of those that are left, whose kind no other one has: that of lists like `layer_types`."""
    alone: set[int] = set()
    for kinds in per_layer.values():
        if len(set(kinds)) > 1:
            count = Counter(kinds[layer] for layer in layers)
            alone |= {layer for layer in layers if count[kinds[layer]] == 1}
    return alone


class _Step:
    """Leave out each layer in turn, of those that are not `gone`."""

    def __init__(self, model: LayeredModel, sample: list[list[int]], gone: Sequence[int], folder: Path) -> None:
        self._model, self._sample, self._folder = model, sample, folder
        self._layers = [layer for layer in range(len(model.layers)) if layer not in gone]
        self._calls: dict[int, list[Call]] = {}
        shutil.rmtree(folder, ignore_errors=True)

    def run(self, tick: Callable[[int], None]) -> RemovedLayer:
        base = self._embed()
        begun: dict[int, States] = {}
        stay = last_of_a_kind(self._model.per_layer, self._layers)
        if stay >= set(self._layers):
            raise PruneError("--remove-layers: each layer that is left is the last of its kind")
        for place, index in enumerate(self._layers):
            tick(place)
            with self._model.layer(index) as layer:
                for states in begun.values():
                    self._advance(states, layer, index)
                if index not in stay:
                    begun[index] = self._new(str(index), list(base))
                self._advance(base, layer, index)
        scored = sum(len(tokens) - 1 for tokens in self._sample)
        losses = {index: self._loss(states) / scored for index, states in begun.items()}
        found = {index: known for index, loss in losses.items() if (known := perplexity(loss)) is not None}
        if not found:
            raise PruneError("--remove-layers: whichever layer goes, the model has no finite perplexity on the text")
        best = min(found, key=lambda index: found[index])
        return RemovedLayer(layer=best, perplexity=found[best])

    def _embed(self) -> States:
        inputs: list[Tensor] = []
        for tokens in self._sample:
            hidden, self._calls[len(tokens)] = self._model.embed(tokens)
            inputs.append(hidden)
        return self._new(_BASE, inputs)

    def _advance(self, states: States, layer: nn.Module, index: int) -> None:
        """Run the layer over a stream, in place."""
        states.fill(self._calls[one.shape[1]][index].run(layer, self._model.place(one)) for one in states)

    def _new(self, name: str, values: list[Tensor]) -> States:
        lengths = [len(tokens) for tokens in self._sample]
        states = States(self._folder / name, lengths, values[0].shape[-1], values[0].dtype, new=True)
        states.fill(iter(values))
        return states

    def _loss(self, states: States) -> float:
        both = zip(self._sample, states, strict=True)
        return sum(self._model.loss(tokens, self._model.place(hidden)) for tokens, hidden in both)
