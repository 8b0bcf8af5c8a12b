"""What a text feeds one down projection: its Gram matrix, the figures of it, and the refit.

Let h(t) [neurons] be the input of the down projection W [hidden, neurons] at token t, and G = sum of h(t) h(t)^T. With K kept
and R removed, the new weights minimise sum |W h - W' h_K|^2 + lambda |W' - W_K|^2, which gives
W' = W_K + W_R G_RK (G_KK + lambda I)^-1; a bias stays. After OBS and SparseGPT, arXiv 2301.00774.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pruner.errors import PruneError
from pruner.scoring.calibration import Activation
from pruner.scoring.selection import Indices

if TYPE_CHECKING:
    from torch import Tensor

RIDGE = 0.1  # lambda as a share of the median of G's diagonal: a few neurons make its mean up to 30 times that


class Gram:
    """G of one MLP, in float32, or only its diagonal; the sums of squares are kept in float64."""

    def __init__(self, weight: Tensor, *, whole: bool) -> None:
        import torch

        neurons, device = weight.shape[-1], weight.device
        self.tokens = 0
        self._squares = torch.zeros(neurons, dtype=torch.float64, device=device)
        self._matrix = torch.zeros(neurons, neurons, device=device) if whole else None

    def add(self, inputs: Tensor) -> None:
        """Inputs of the down projection, [..., neurons]."""
        rows = inputs.reshape(-1, inputs.shape[-1]).float()
        self.tokens += len(rows)
        self._squares += rows.square().sum(dim=0)
        if self._matrix is not None:
            self._matrix.addmm_(rows.T, rows)

    def figure(self, kind: Activation) -> NDArray[np.float64]:
        """As `pruner.scoring.calibration.Activity.figure`; not finite if an input was not."""
        result: NDArray[np.float64] = (self._squares.sqrt() if kind == "norm" else self._unexplained()).cpu().numpy()
        return result

    def _unexplained(self) -> Tensor:
        import torch

        everything = torch.arange(len(self._squares), device=self._squares.device)
        system = self._system(everything, "--criterion obs")
        return torch.cholesky_inverse(torch.linalg.cholesky(system)).diagonal().reciprocal()

    def refit(self, weight: Tensor, kept: Indices) -> Tensor:
        """New weights [hidden, kept], float32, solved in float64. Raises PruneError if an input was not finite."""
        import torch

        stay = torch.from_numpy(kept).to(weight.device)
        gone = torch.ones(weight.shape[1], dtype=torch.bool, device=weight.device)
        gone[stay] = False
        system = self._system(stay, "--refit")
        shared = self._whole()[gone][:, stay].double()
        change = torch.cholesky_solve((weight[:, gone].double() @ shared).T, torch.linalg.cholesky(system)).T
        return (weight[:, stay].double() + change).float()

    def _system(self, stay: Tensor, option: str) -> Tensor:
        """G_KK + lambda I in float64."""
        import torch

        matrix = self._whole()[stay][:, stay].double()
        fed = self._squares[self._squares != 0]  # neurons that are never fed keep their weights whatever lambda is
        ridge = RIDGE * fed.median() if len(fed) else torch.ones_like(self._squares[0])
        if not (ridge.isfinite() and matrix.isfinite().all()):
            raise PruneError(f"{option}: the calibration text drives activations beyond what the dtype can hold")
        matrix.diagonal().add_(ridge)
        return matrix

    def _whole(self) -> Tensor:
        if self._matrix is None:
            raise ValueError("only the diagonal was kept")
        return self._matrix
