"""Hidden states between two layers, in files: [tokens, hidden] of all sequences of a stream, one after another."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class States:
    """One stream's states before one layer, mapped from its file, which is made if `new`."""

    def __init__(
        self, file: Path, lengths: Sequence[int], hidden: int, dtype: torch.dtype, *, new: bool = False
    ) -> None:
        import torch

        self._lengths = lengths
        size = sum(lengths) * hidden
        if new:
            _reserve(file, size * dtype.itemsize)
        self._values = torch.from_file(str(file), shared=True, size=size, dtype=dtype).view(-1, hidden)

    def __iter__(self) -> Iterator[Tensor]:
        """Of each sequence, [1, tokens, hidden]."""
        first = 0
        for length in self._lengths:
            yield self._values[first : first + length].unsqueeze(0)
            first += length

    def fill(self, outputs: Iterator[Tensor]) -> None:
        """Write every sequence's [1, tokens, hidden]."""
        for place, output in zip(self, outputs, strict=True):
            place.copy_(output)


def _reserve(file: Path, nbytes: int) -> None:
    """Make the file anew with all its blocks: on a full disk, writing to mapped memory would end the process (SIGBUS)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    with file.open("wb") as opened:
        try:
            os.posix_fallocate(opened.fileno(), 0, nbytes)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(file)) from None


class LayerStore:
    """What is known before each layer, in one folder: `layer-N`, whole or not there; the last one is resumed from."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def last(self) -> int | None:
        """The number of layers that are finished; None before the first layer's inputs are there."""
        done = [int(path.name.removeprefix("states-")) for path in self._folder.glob("states-*") if path.suffix == ""]
        return max(done, default=None)

    def states(self, layer: int) -> Path:
        """The folder of the streams' files before that layer."""
        return self._folder / f"states-{layer}"

    def next_states(self, layer: int) -> Path:
        """An empty folder, to be filled and passed to `finish`."""
        partial = self._folder / f"states-{layer}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        return partial

    def finish(self, layer: int) -> None:
        """The states before `layer` are whole, as are the results of the layers before it; those before that are dropped."""
        self._folder.joinpath(f"states-{layer}.partial").rename(self.states(layer))
        if layer:
            shutil.rmtree(self.states(layer - 1))

    def discard_unfinished(self) -> None:
        """Remove what belongs to no finished layer."""
        done = self.last() or 0
        kept = {self.states(done), *map(self.results, range(done))} if done else set()
        for path in self._folder.glob("*"):
            if path not in kept:
                shutil.rmtree(path)

    def results(self, layer: int) -> Path:
        """The folder of a layer's figures and new weights."""
        return self._folder / f"layer-{layer}"
