"""Ranks of values; ties share the mean of theirs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def mean_ranks(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The rank of each value, from 1; equal values have the mean of their ranks."""
    _, places, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    ranks: npt.NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks
