"""How much a neuron counts, from its gate and up rows.

Every criterion is a figure of the gate row combined with the same figure of the up row, in float32, and gives the bits that
optipfair 0.4.2 gets from torch on a CPU: MAW because maxima do not depend on an order, the others because they add up in
torch's order (`aten/src/ATen/native/SharedReduceOps.h` and `cpu/ReduceOpsKernel.cpp`). L2 does so for rows of a multiple of 8.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pruner.output.manifest import Criterion

Floats = NDArray[np.float32]


def _spread(rows: Floats) -> Floats:
    """Peak-to-peak, max + |min|: truly so only where a row straddles 0 (the library's code; its documentation says max |w|)."""
    result: Floats = rows.max(axis=1) + np.abs(rows.min(axis=1))
    return result


def _variance(rows: Floats) -> Floats:
    """Unbiased variance by Welford's recurrence in float64, all rows at once; 0/0 for a single column, as in torch."""
    columns = np.ascontiguousarray(rows.T)
    mean = np.zeros(len(rows))
    squares = np.zeros(len(rows))
    for count, column in enumerate(columns, 1):
        delta = column - mean
        mean += delta / count
        squares += delta * (column - mean)
    return (squares / (len(columns) - 1)).astype(np.float32)


def _norm1(rows: Floats) -> Floats:
    """Sum of absolutes, one after the other: a running sum in float32."""
    return np.cumsum(np.abs(rows), axis=1, dtype=np.float32)[:, -1]


def _norm2(rows: Floats) -> Floats:
    """Root of the sum of squares in eight interleaved running sums, as a vector register of eight floats adds them."""
    whole = rows.shape[1] // 8 * 8
    squares = rows * rows
    lanes = squares[:, :whole].reshape(len(rows), -1, 8).sum(axis=1)
    total: Floats = np.cumsum(np.hstack([lanes, squares[:, whole:]]), axis=1)[:, -1]
    return np.sqrt(total)


_FIGURES: dict[Criterion, Callable[[Floats], Floats]] = {
    "maw": _spread,
    "vow": _variance,
    "pon": _norm1,
    "l2": _norm2,
    "act": _spread,
}


def row_figures(criterion: Criterion, rows: Floats) -> Floats:
    """The criterion's figure of each row, [rows]; NaN or infinite where a row holds NaN or infinity."""
    with np.errstate(all="ignore"):  # the caller looks for what is not finite and names the row
        return _FIGURES[criterion](rows)


def combine(criterion: Criterion, gate: Floats, up: Floats) -> Floats:
    """Scores of the neurons, [neurons], from the figures of their gate and up rows; under `act` still to be weighed."""
    with np.errstate(over="ignore"):
        return gate * up if criterion == "pon" else gate + up


def random_scores(neurons: int, seed: int, prefix: str) -> Floats:
    """A random order of an MLP's neurons as distinct scores: it depends on the seed and the MLP's name, on nothing else."""
    words = np.frombuffer(hashlib.sha256(prefix.encode()).digest(), "<u4").tolist()
    draws = np.random.PCG64([seed, *words]).random_raw(neurons)  # the raw stream does not change between numpy versions
    return np.argsort(np.argsort(draws)).astype(np.float32)
