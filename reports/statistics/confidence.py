"""The confidence level, and the sample sizes that it requires."""

from __future__ import annotations

import math

CONFIDENCE = 0.95


def needed_for(wanted: float, confidence: float = CONFIDENCE) -> int:
    """The smallest n with a two-sided interval: the extremes must each miss in at most (1 - confidence)/2 of samples.

    6 for the median, 36 for p90, 72 for p95, 368 for p99, 3,688 for p99.9 (at 95 %).
    """
    share = share_of(wanted)
    return math.ceil(math.log((1 - confidence) / 2) / math.log(max(share, 1 - share)))


def share_of(wanted: float) -> float:
    """A percentile as a share. Raises ValueError outside 0 and 100, exclusive."""
    if not 0 < wanted < 100:
        raise ValueError(f"percentile {wanted}: it must lie between 0 and 100")
    return wanted / 100
