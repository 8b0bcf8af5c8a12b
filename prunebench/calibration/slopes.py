"""What silencing a neuron would do to the text's loss, to first order: what it feeds the down projection times the loss's slope.

Taylor's expansion, after Molchanov and others, arXiv 1906.10771. A part of the text at a time runs forwards through the layers
of the whole model, which leaves its hidden states before each of them in files; then the gradient of its loss goes back through
them, each layer being run again over its states. A layer is in memory at a time, and no weight has a gradient.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from base.files import write_bytes
from prunebench.calibration.layerwise import down_weights, listening, mlps_by_layer
from prunebench.calibration.model import Call, LayeredModel
from prunebench.calibration.states import States
from pruner.checkpoint.anatomy import Anatomy, Mlp

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

STATE_BYTES = 1 << 32  # of hidden states in files, at a time
Slopes = dict[str, NDArray[np.float64]]  # MLP prefix -> [neurons]


class SlopePass:
    """Over all of `text`, through the layers that are not `removed`; parts that an earlier run finished in `work` are read back."""

    def __init__(
        self, model: LayeredModel, anatomy: Anatomy, text: Sequence[list[int]], work: Path, removed: Collection[int]
    ) -> None:
        self._model, self._anatomy, self._work = model, anatomy, work
        self._mlps = mlps_by_layer(anatomy, len(model.layers), removed)
        self._layers = [layer for layer in range(len(model.layers)) if layer not in removed]
        self._parts = self._split(text)
        self.steps = 2 * len(self._layers) * len(self._parts)

    def run(self, tick: Callable[[int], None]) -> Slopes:
        """MLP prefix -> the L2 norm over tokens of each neuron's input of the down projection times the summed loss's gradient by it.

        tick: called with the steps that are done. Raises PruneError as `LayeredModel` and `down_weights` do.
        """
        done, squares = self._stored()
        states = self._work / "states"
        try:
            for number, part in enumerate(self._parts[done:], done):
                step = _counting(tick, number * self.steps // len(self._parts))
                one = _Part(self._model, part, self._layers, states, step)
                for prefix, found in one.squares(self._anatomy, self._mlps):
                    squares[prefix] = squares[prefix] + found
                self._store(number + 1, squares)
        finally:
            shutil.rmtree(states, ignore_errors=True)
        return {prefix: np.sqrt(values) for prefix, values in squares.items()}

    def _split(self, text: Sequence[list[int]]) -> list[Sequence[list[int]]]:
        hidden, _ = _embed(self._model, text[0])
        token = hidden.shape[-1] * hidden.element_size() * (len(self._layers) + 2)
        most = max(1, STATE_BYTES // (max(map(len, text)) * token))
        return [text[first : first + most] for first in range(0, len(text), most)]

    def _stored(self) -> tuple[int, Slopes]:
        done = max((int(file.stem.removeprefix("slopes-")) for file in self._work.glob("slopes-*.npz")), default=0)
        if not done:
            return 0, {mlp.prefix: np.zeros(mlp.neurons) for mlps in self._mlps for mlp in mlps}
        with np.load(self._work / f"slopes-{done}.npz") as values:
            return done, dict(values)

    def _store(self, done: int, squares: Slopes) -> None:
        """One file at any moment, or two with the newer one whole."""
        before = list(self._work.glob("slopes-*.npz"))
        self._work.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        np.savez(content, **squares)  # type: ignore[arg-type]
        write_bytes(self._work / f"slopes-{done}.npz", content.getvalue())
        for file in before:
            file.unlink()


class _Part:
    """A part of the text, whose states take at most STATE_BYTES."""

    def __init__(
        self, model: LayeredModel, text: Sequence[list[int]], layers: list[int], folder: Path, step: Callable[[], None]
    ) -> None:
        self._model, self._text, self._layers, self._folder, self._step = model, text, layers, folder, step
        self._calls: dict[int, list[Call]] = {}
        self._shape: tuple[int, torch.dtype]  # of hidden states

    def squares(self, anatomy: Anatomy, mlps: Sequence[list[Mlp]]) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """Of each MLP, the last layer's first: its prefix and the sums of squares."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._forwards()
        last = zip(self._text, self._open(len(self._layers)), strict=True)
        self._write("gradient", (self._model.loss_gradient(tokens, hidden) for tokens, hidden in last))
        for place, index in reversed(list(enumerate(self._layers))):
            self._step()
            with self._model.layer(index) as layer:
                weights = down_weights(layer, anatomy, mlps[index])
                squares = {prefix: _Squares(weight) for prefix, weight in weights.items()}
                with listening({weights[prefix].data_ptr(): one for prefix, one in squares.items()}):
                    gradient = self._open("gradient")
                    both = zip(self._open(place), gradient, strict=True)
                    gradient.fill(self._backwards(index, layer, *pair) for pair in both)
            yield from ((prefix, one.total.cpu().numpy()) for prefix, one in squares.items())

    def _forwards(self) -> None:
        """Write the states before each layer, and after the last, by their places: mapped memory is that of two."""
        import torch

        with torch.no_grad():
            inputs = []
            for tokens in self._text:
                hidden, self._calls[len(tokens)] = _embed(self._model, tokens)
                inputs.append(hidden)
            self._write(0, iter(inputs))
            del inputs
            for place, index in enumerate(self._layers):
                self._step()
                with self._model.layer(index) as layer:
                    before = (self._model.place(one) for one in self._open(place))
                    self._write(place + 1, (self._call(index, one).run(layer, one) for one in before))

    def _backwards(self, index: int, layer: nn.Module, hidden: Tensor, gradient: Tensor) -> Tensor:
        """The gradient by a layer's input, from that by its output."""
        import torch

        leaf = self._model.place(hidden).detach().requires_grad_()
        output = self._call(index, hidden).run(layer, leaf)
        return torch.autograd.grad(output, leaf, self._model.place(gradient))[0]

    def _call(self, index: int, hidden: Tensor) -> Call:
        return self._calls[hidden.shape[1]][index]

    def _write(self, name: str | int, values: Iterator[Tensor]) -> None:
        first = next(values)
        self._shape = first.shape[-1], first.dtype
        self._open(name, new=True).fill(chain([first], values))

    def _open(self, name: str | int, *, new: bool = False) -> States:
        lengths = [len(tokens) for tokens in self._text]
        return States(self._folder / str(name), lengths, *self._shape, new=new)


class _Squares:
    """Sums, over tokens, of the squares of a down projection's inputs times their gradients, in float64."""

    def __init__(self, weight: Tensor) -> None:
        import torch

        self.total = torch.zeros(weight.shape[-1], dtype=torch.float64, device=weight.device)

    def add(self, inputs: Tensor) -> None:
        """Inputs of the down projection, [..., neurons]; counted once their gradient is known."""
        inputs.register_hook(partial(self._count, inputs.detach()))  # type: ignore[no-untyped-call]

    def _count(self, inputs: Tensor, gradient: Tensor) -> None:
        products = inputs.float() * gradient.float()
        self.total += products.reshape(-1, products.shape[-1]).square().sum(dim=0)


def _counting(tick: Callable[[int], None], first: int) -> Callable[[], None]:
    """Calls `tick` with `first`, then with one more each time."""
    steps = count(first)
    return lambda: tick(next(steps))


def _embed(model: LayeredModel, tokens: list[int]) -> tuple[Tensor, list[Call]]:
    """As `LayeredModel.embed`, for a layer that is to be differentiated: inference's tensors cannot be."""
    import torch

    with torch.no_grad():
        return model.embed(tokens)
