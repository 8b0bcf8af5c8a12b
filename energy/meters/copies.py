"""Two names for one counter: meters that report the same joules. They are found by their readings, and counted once.

Meters of two devices never agree to the last digit for long. Copies of one counter do, except for reads between which it moved:
their difference is constant.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from energy.records import MeterTrace

_FEWEST = 20  # reads at which the meter had moved: fewer prove nothing
_AGREE = 0.5  # share of those reads; the others fell on either side of a refresh


def find_copies(traces: Sequence[MeterTrace]) -> dict[int, int]:
    """Position of each copy -> position of the earlier meter whose joules it repeats. Only meters that measure are compared."""
    found: dict[int, int] = {}
    for own, trace in enumerate(traces):
        for other in range(own):
            if other not in found and trace.info.measured and _agree(traces[other], trace):
                found[own] = other
                break
    return found


def _agree(first: MeterTrace, second: MeterTrace) -> bool:
    if not first.info.measured or first.info.simulated:
        return False
    one, two = _readings(first), _readings(second)
    count = min(len(one), len(two))
    one, two = one[-count:], two[-count:]  # both end with the sampler's latest pass
    if count <= _FEWEST:
        return False
    moved = np.flatnonzero((np.diff(one) != 0) & (np.diff(two) != 0)) + 1
    if len(moved) < _FEWEST:
        return False
    apart = np.round(one - two, 6)[moved]
    _, counts = np.unique(apart, return_counts=True)
    return bool(counts.max() >= _AGREE * len(moved))


def _readings(trace: MeterTrace) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The device's own readings: its counter, or the power that joules are integrated from."""
    watts = [w for w in trace.watts if w is not None]
    return np.array(watts if trace.info.kind == "power" else trace.joules, dtype=np.float64)
