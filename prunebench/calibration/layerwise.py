"""One pass of a text through a model, layer by layer: what each MLP is fed, and what cutting it costs.

Streams of hidden states go through a layer one after another: the text itself, the held-out text through the whole model, and
for every output the held-out text through the model as it is pruned so far. In a sequential pass the text goes through the
pruned model too. A layer is pruned in memory by columns of zeros in its down projection.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from prunebench.calibration.activity import MeasuredActivity, StoredActivity, save_layer, stored_layer
from prunebench.calibration.gram import Gram
from prunebench.calibration.model import Call, LayeredModel
from prunebench.calibration.states import LayerStore, States
from prunebench.calibration.text import Sequences
from pruner.checkpoint.anatomy import Anatomy, Mlp
from pruner.checkpoint.layers import LAYER
from pruner.errors import PruneError
from pruner.scoring.selection import Indices

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_TEXT, _WHOLE = "text", "whole"  # names of streams; those of the outputs are the outputs' own
GRAM_BYTES = 1 << 30  # of one layer, at a time
_EXPERT = re.compile(r"\.experts\.(\d+)$")
Tick = Callable[[int], None]  # layers done


class LayerwisePass:
    """One pass, for `outputs`, from which the layers `removed` are gone.

    `losses` are the held-out text's summed negative log-likelihoods by stream, at its end.
    """

    def __init__(
        self,
        model: LayeredModel,
        anatomy: Anatomy,
        sequences: Sequences,
        outputs: tuple[str, ...],
        work: Path,
        *,
        removed: Collection[int] = (),
        grams: bool,
        refit: bool,
        sequential: bool,
        slopes: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> None:
        self._model, self._anatomy, self._outputs, self._store = model, anatomy, outputs, LayerStore(work)
        self._removed = removed
        self._grams, self._refit, self._sequential = grams, refit, sequential
        self._slopes = slopes or {}
        held_out = sequences.held_out
        self._streams = {_TEXT: sequences.used, _WHOLE: held_out, **dict.fromkeys(outputs, held_out)}
        self._calls: dict[int, list[Call]] = {}  # by length of the sequence
        self._dtype: torch.dtype
        self._hidden: int
        self.losses: dict[str, float] = {}

    def run(self, tick: Tick) -> Generator[MeasuredActivity | StoredActivity, None, None]:
        """Every MLP in the order of the layers; the layers that an earlier run finished are read back.

        After an error, Ctrl-C or `close`, what is stored is that of finished layers.
        """
        import torch

        layers = len(self._model.layers)
        by_layer = mlps_by_layer(self._anatomy, layers, self._removed)
        try:
            with torch.inference_mode():
                done = self._start()
            for layer in range(done):
                yield from stored_layer(self._store.results(layer), by_layer[layer], self._outputs)
            for layer in range(done, layers):
                tick(layer)
                if layer in self._removed:
                    self._pass_by(layer)
                else:
                    yield from self._layer(layer, by_layer[layer])
        except BaseException:
            self._store.discard_unfinished()
            raise
        with torch.inference_mode():
            self.losses = {name: self._loss(name, layers) for name in (_WHOLE, *self._outputs)}

    def _layer(self, index: int, mlps: Sequence[Mlp]) -> Iterator[MeasuredActivity]:
        import torch

        with self._model.layer(index) as layer:
            weights = down_weights(layer, self._anatomy, mlps)
            target = self._store.next_states(index + 1)
            folder = self._store.results(index)
            made = []
            for place, group in enumerate(self._groups(mlps)):
                grams = {mlp.prefix: Gram(weights[mlp.prefix], whole=self._grams) for mlp in group}
                with torch.inference_mode(), listening({weights[p].data_ptr(): gram for p, gram in grams.items()}):
                    self._advance(_TEXT, index, layer, None if self._sequential or place else target)
                for mlp in group:
                    weight = weights[mlp.prefix].detach().float()
                    gram = grams.pop(mlp.prefix)
                    slopes = self._slopes.get(mlp.prefix)
                    made.append(
                        MeasuredActivity(mlp, self._outputs, gram, weight, folder, refit=self._refit, slopes=slopes)
                    )
                    yield made[-1]
                    made[-1].save()
            with torch.inference_mode():
                self._advance(_WHOLE, index, layer, target)
                for output in self._outputs:
                    with _pruned(weights, {one.mlp.prefix: one.cuts[output] for one in made}):
                        self._advance(output, index, layer, target)
                        if self._sequential:
                            self._advance(_TEXT, index, layer, target)
            save_layer(folder, made)
            self._store.finish(index + 1)

    def _groups(self, mlps: Sequence[Mlp]) -> list[list[Mlp]]:
        """MLPs whose Gram matrices fit into GRAM_BYTES together: the text runs through a layer of many experts for each group."""
        groups: list[list[Mlp]] = [[]]
        held = 0
        for mlp in mlps:
            size = 4 * mlp.neurons * (mlp.neurons if self._grams else 1)
            if held + size > GRAM_BYTES and groups[-1]:
                groups.append([])
                held = 0
            groups[-1].append(mlp)
            held += size
        return groups

    def _pass_by(self, index: int) -> None:
        """The whole model alone has this layer."""
        import torch

        target = self._store.next_states(index + 1)
        with self._model.layer(index) as layer, torch.inference_mode():
            self._advance(_WHOLE, index, layer, target)
        for name in self._streams.keys() - {_WHOLE}:
            if self._streams[name]:
                shutil.copyfile(self._store.states(index) / name, target / name)
        save_layer(self._store.results(index), [])
        self._store.finish(index + 1)

    def _start(self) -> int:
        """The states before the first layer, unless an earlier run left later ones; how many layers that finished."""
        done = self._store.last()
        target = self._store.next_states(0) if done is None else None
        for name, sequences in self._streams.items():
            inputs = (self._embed(tokens) for tokens in sequences)
            if target is None:  # how layers are called is still to be found out
                for tokens in {len(tokens): tokens for tokens in sequences}.values():
                    self._embed(tokens)
            elif (first := next(inputs, None)) is not None:
                self._dtype, self._hidden = first.dtype, first.shape[-1]
                self._open(name, target, new=True).fill(chain([first], inputs))
        if target is not None:
            self._store.finish(0)
        return done or 0

    def _embed(self, tokens: list[int]) -> Tensor:
        hidden, calls = self._model.embed(tokens)
        self._dtype, self._hidden = hidden.dtype, hidden.shape[-1]
        self._calls[len(tokens)] = calls
        return hidden

    def _open(self, name: str, folder: Path, *, new: bool = False) -> States:
        lengths = [len(tokens) for tokens in self._streams[name]]
        return States(folder / name, lengths, self._hidden, self._dtype, new=new)

    def _advance(self, name: str, index: int, layer: nn.Module, target: Path | None) -> None:
        """Run a stream through the layer; its output goes to `target`, if given."""
        if not self._streams[name]:
            return
        before = self._open(name, self._store.states(index))
        outputs = (self._calls[states.shape[1]][index].run(layer, self._model.place(states)) for states in before)
        if target is not None:
            self._open(name, target, new=True).fill(outputs)
        else:
            for _ in outputs:
                pass

    def _loss(self, name: str, layers: int) -> float:
        if not self._streams[name]:
            return 0.0
        states = self._open(name, self._store.states(layers))
        both = zip(self._streams[name], states, strict=True)
        return sum(self._model.loss(tokens, self._model.place(hidden)) for tokens, hidden in both)


def mlps_by_layer(anatomy: Anatomy, layers: int, removed: Collection[int]) -> list[list[Mlp]]:
    """The MLPs of each layer; none of those removed. Raises PruneError for one that is in no layer."""
    found: list[list[Mlp]] = [[] for _ in range(layers)]
    for mlp in anatomy.mlps:
        place = LAYER.search(f"{mlp.prefix}.")
        if place is None or int(place[1]) >= layers:
            raise PruneError(f"{mlp.prefix} is in no layer of the model; use a criterion of the weights, no --refit")
        if int(place[1]) not in removed:
            found[int(place[1])].append(mlp)
    return found


def down_weights(layer: nn.Module, anatomy: Anatomy, mlps: Sequence[Mlp]) -> dict[str, Tensor]:
    """MLP prefix -> its down projection's weight [hidden, neurons] in the loaded layer.

    Raises PruneError for one that the library keeps in another form than the checkpoint.
    """
    weights = {}
    parameters = dict(layer.named_parameters())
    for mlp in mlps:
        down = anatomy.downs[mlp.prefix]
        place = LAYER.search(down)
        if expert := _EXPERT.search(mlp.prefix):  # stacked in one parameter of a layer [experts, hidden, neurons]
            stacks = [p for name, p in parameters.items() if name.endswith("experts.down_proj")]
            weight = stacks[0][int(expert[1])] if len(stacks) == 1 else None
        else:
            weight = parameters.get(down[place.end() :] if place else down)
        if weight is None or weight.shape[-1] != mlp.neurons:
            raise PruneError(
                f"--calibration: transformers keeps {mlp.prefix} in another form than the checkpoint; "
                "use a criterion of the weights, and no --refit"
            )
        weights[mlp.prefix] = weight.detach()
    return weights


@contextmanager
def _pruned(weights: Mapping[str, Tensor], cuts: Mapping[str, tuple[Indices, Path | None]]) -> Iterator[None]:
    """While this lasts, the layer computes what the pruned layer would."""
    import torch

    before = {prefix: weight.clone() for prefix, weight in weights.items()}
    for prefix, (kept, refitted) in cuts.items():
        stay = torch.from_numpy(kept).to(weights[prefix].device)
        if refitted is None:
            columns = before[prefix][:, stay]
        else:
            columns = torch.from_numpy(np.load(refitted)).to(before[prefix])
        weights[prefix].zero_()
        weights[prefix][:, stay] = columns
    try:
        yield
    finally:
        for prefix, weight in weights.items():
            weight.copy_(before[prefix])


class Listener(Protocol):
    """What is fed the inputs of a product with a weight."""

    def add(self, inputs: Tensor) -> None:
        """Inputs [..., columns of the weight]."""


def listening(listeners: Mapping[int, Listener]) -> Any:
    """A context in which every product with one of the weights, by their addresses, adds its input to that weight's listener.

    A weight is known by its address since experts have no module of their own to hang a hook on.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    linear = torch.nn.functional.linear

    class Mode(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is linear and (listener := listeners.get(args[1].data_ptr())) is not None:
                listener.add(args[0])
            return function(*args, **(kwargs or {}))

    return Mode()
