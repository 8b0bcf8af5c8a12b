"""The client's read lag: from the kernel's receive stamp of bytes to the moment at which the client reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

_BINS = 400  # each 5 % wider than the last, from a microsecond on
_STEP = math.log(1.05)


@dataclass
class LagHistogram:
    """The client's own lag, read after read: how many of each size in each second of the monotonic clock."""

    seconds: dict[int, npt.NDArray[np.int64]] = field(default_factory=dict)
    stamped: int = 0  # reads with the kernel's stamp
    reads: int = 0

    def add(self, at_ns: npt.NDArray[np.int64], lag_ns: npt.NDArray[np.int64]) -> None:
        """Lags of reads at moments; -1 where there was no stamp."""
        known = lag_ns >= 0
        self.reads += len(lag_ns)
        self.stamped += int(known.sum())
        bins = np.log(np.maximum(lag_ns[known], 1000) / 1000) / _STEP
        places = np.minimum(bins.astype(np.int64), _BINS - 1)
        seconds = at_ns[known] // 1_000_000_000
        for second in np.unique(seconds):
            count = np.bincount(places[seconds == second], minlength=_BINS)
            self.seconds[int(second)] = self.seconds.get(int(second), 0) + count

    def merge(self, other: LagHistogram) -> None:
        """Add what another process has seen."""
        self.reads += other.reads
        self.stamped += other.stamped
        for second, count in other.seconds.items():
            self.seconds[second] = self.seconds.get(second, 0) + count

    def percentiles_ms(self, start_ns: int, end_ns: int, wanted: tuple[float, ...]) -> list[float] | None:
        """Over the seconds that the window touches, within 5 %; None if nothing was stamped in it."""
        inside = [c for s, c in self.seconds.items() if start_ns // 10**9 <= s <= end_ns // 10**9]
        total = np.cumsum(np.sum(inside, axis=0)) if inside else np.zeros(1)
        if not total[-1]:
            return None
        places = [int(np.searchsorted(total, p / 100 * total[-1])) for p in wanted]
        return [math.exp((place + 0.5) * _STEP) / 1000 for place in places]
