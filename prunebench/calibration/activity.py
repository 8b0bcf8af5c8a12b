"""What the text feeds one MLP, as the pruner sees it: just computed, or read back from an earlier run that was stopped."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from base.files import write_text
from prunebench.calibration.gram import Gram
from pruner.checkpoint.anatomy import Mlp
from pruner.scoring.calibration import Activation
from pruner.scoring.selection import Indices

if TYPE_CHECKING:
    from torch import Tensor


class MeasuredActivity:
    """Just computed. New weights are written as they are asked for, figures by `save`.

    cuts: output -> its kept neurons and their new down weights [hidden, kept], None where these are the source's.
    slopes [neurons]: as `SlopePass` measures them, if they were.
    """

    def __init__(
        self,
        mlp: Mlp,
        outputs: tuple[str, ...],
        gram: Gram,
        weight: Tensor,
        folder: Path,
        *,
        refit: bool,
        slopes: NDArray[np.float64] | None = None,
    ) -> None:
        self.mlp, self.outputs, self.tokens = mlp, outputs, gram.tokens
        self.cuts: dict[str, tuple[Indices, Path | None]] = {}  # and the file of new weights
        self._gram, self._weight, self._folder, self._refit = gram, weight, folder, refit
        self._figures: dict[Activation, NDArray[np.float64]] = {}
        if slopes is not None:
            self._figures["norm x slope"] = gram.figure("norm") * slopes

    def figure(self, kind: Activation) -> NDArray[np.float64]:
        """As `Activity.figure`."""
        if kind not in self._figures:
            self._figures[kind] = self._gram.figure(kind)
        return self._figures[kind]

    def keep(self, output: str, kept: Indices) -> Path | None:
        """As `Activity.keep`."""
        if not self._refit or not self.tokens:
            self.cuts[output] = kept, None
            return None
        file = _down_file(self._folder, output, self.mlp)
        file.parent.mkdir(parents=True, exist_ok=True)
        _save(file, self._gram.refit(self._weight, kept).cpu().numpy())
        self.cuts[output] = kept, file
        return file

    def save(self) -> None:
        """Write what `StoredActivity` reads, and let go of the Gram matrix."""
        self._folder.mkdir(parents=True, exist_ok=True)
        np.savez(self._folder / f"{self.mlp.prefix}.npz", **self._figures)  # type: ignore[arg-type]
        del self._gram, self._weight


class StoredActivity:
    """Read back."""

    def __init__(self, mlp: Mlp, outputs: tuple[str, ...], tokens: int, folder: Path) -> None:
        self.mlp, self.outputs, self.tokens, self._folder = mlp, outputs, tokens, folder

    def figure(self, kind: Activation) -> NDArray[np.float64]:
        """As `Activity.figure`."""
        with np.load(self._folder / f"{self.mlp.prefix}.npz") as figures:
            result: NDArray[np.float64] = figures[kind]
            return result

    def keep(self, output: str, kept: Indices) -> Path | None:
        """As `Activity.keep`; the same prune keeps the same neurons."""
        del kept
        file = _down_file(self._folder, output, self.mlp)
        return file if file.exists() else None


def save_layer(folder: Path, activities: Iterable[MeasuredActivity]) -> None:
    """Write how many tokens reached each MLP: last, once each has saved its figures."""
    tokens = {activity.mlp.prefix: activity.tokens for activity in activities}
    folder.mkdir(parents=True, exist_ok=True)  # of a layer without an MLP
    write_text(folder / "tokens.json", json.dumps(tokens))


def stored_layer(folder: Path, mlps: Iterable[Mlp], outputs: tuple[str, ...]) -> list[StoredActivity]:
    """A layer that `save_layer` wrote."""
    tokens = json.loads((folder / "tokens.json").read_bytes())
    return [StoredActivity(mlp, outputs, tokens[mlp.prefix], folder) for mlp in mlps]


def _save(file: Path, values: NDArray[np.float32]) -> None:
    """As `numpy.save`, whose error on a full disk has no reason in it."""
    content = io.BytesIO()
    np.save(content, values)
    file.write_bytes(content.getbuffer())


def _down_file(folder: Path, output: str, mlp: Mlp) -> Path:
    return folder / output / f"{mlp.prefix}.npy"
