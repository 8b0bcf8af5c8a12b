"""Figures of very many numbers without a second copy of them: a hundred million gaps are half a gigabyte once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from loadgen.metrics.metrics import GapFigures

_FEW = 1 << 17  # up to this many are sorted, which takes less time than counting into bins
_HALF, _LOW = 16, 0xFFFF  # of a float's 32 bits: those of numbers that are not negative sort as the numbers do


class Gaps:
    """Numbers >= 0 in parts (float32, ms), as one row of numbers; values are those numpy gives for the whole."""

    def __init__(self, parts: Sequence[npt.NDArray[np.float32]]) -> None:
        self._parts = [part for part in parts if part.size]
        self.size = sum(part.size for part in self._parts)

    @property
    def mean(self) -> float | None:
        """None without numbers."""
        if not self.size:
            return None
        return math.fsum(float(part.sum(dtype=np.float64)) for part in self._parts) / self.size

    @property
    def std(self) -> float | None:
        """Of the whole row, not an estimate for more; None without numbers."""
        mean = self.mean
        if mean is None:
            return None
        squares = math.fsum(float(np.square(part.astype(np.float64) - mean).sum()) for part in self._parts)
        return math.sqrt(squares / self.size)

    def figures(self, wanted: Iterable[int]) -> GapFigures:
        """Mean, deviation and percentiles."""
        return GapFigures(self.percentiles(wanted), self.mean, self.std)

    def percentiles(self, wanted: Iterable[int]) -> dict[int, float]:
        """Percentile -> value, by linear interpolation between order statistics; empty without numbers."""
        wanted = list(wanted)
        if not self.size:
            return {}
        places = {p: p / 100 * (self.size - 1) for p in wanted}
        ranks = sorted({rank for place in places.values() for rank in (math.floor(place), math.ceil(place))})
        values = dict(zip(ranks, self._order_statistics(ranks), strict=True))
        found = {}
        for p, place in places.items():
            low, high = values[math.floor(place)], values[math.ceil(place)]
            found[p] = low + (high - low) * (place - math.floor(place))
        return found

    def _order_statistics(self, ranks: list[int]) -> list[float]:
        """The numbers at these ranks (from 0); of many by their bits: the upper half says in which bin, the lower half where in it."""
        if self.size <= _FEW:
            return [float(value) for value in np.sort(np.concatenate(self._parts))[ranks]]
        upper = self._count(lambda bits: bits >> _HALF)
        found, lowers = [], {}
        for rank in ranks:
            high = int(np.searchsorted(upper, rank, side="right"))
            before = int(upper[high - 1]) if high else 0
            if high not in lowers:
                lowers[high] = self._lower(high)
            lower = lowers[high]
            low = int(np.searchsorted(lower, rank - before, side="right"))
            found.append(float(np.array(high << _HALF | low, dtype=np.uint32).view(np.float32)))
        return found

    def _lower(self, high: int) -> npt.NDArray[np.int64]:
        return self._count(lambda bits: bits[bits >> _HALF == high] & _LOW)

    def _count(self, place: Callable[[npt.NDArray[np.uint32]], npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
        """How many have this place or a lower one, for every place."""
        counts = np.zeros(1 << _HALF, dtype=np.int64)
        for part in self._parts:
            counts += np.bincount(place(part.view(np.uint32)), minlength=1 << _HALF)
        return np.cumsum(counts)
