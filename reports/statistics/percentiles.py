"""Percentiles with distribution-free intervals, withheld if the sample is too small.

Of n independent values the number below the p-quantile is binomial(n, p), which gives the two order statistics around it (David and
Nagaraja, Order Statistics, 3rd edition, section 7.1). Requests that queue behind each other are not independent, and those of one trial
share its machine, so this interval is shown only for a single trial without overlapping requests. Otherwise it sets the number of
requests from which a percentile is shown, and `reports.statistics.block_percentiles` computes the interval.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from base.distributions import binomial_at_most
from base.records import Record
from loadgen.metrics.latencies import percentiles
from reports.statistics.confidence import CONFIDENCE, needed_for, share_of
from reports.statistics.failures import AMONG_FAILED

MLPERF_CONFIDENCE = 0.99


class Percentile(Record):
    """A percentile of n values and its interval; `reason` says why a part is missing: too few values, or failed requests."""

    percentile: float
    n: int
    needed: int  # the smallest n for which the interval exists
    value: float | None = None
    low: float | None = None
    high: float | None = None
    basis: Literal["blocks", "this trial"] | None = (
        None  # of the interval: over blocks, or over the requests of one trial
    )
    reason: str | None = None


class Ranks(NamedTuple):
    """Positions (from 0) of the two sorted values around a percentile, and their least coverage."""

    low: int
    high: int
    coverage: float


def percentile(values: Sequence[float] | npt.NDArray[np.floating], wanted: float) -> Percentile:
    """The `wanted` percentile (0 to 100, exclusive) with its distribution-free 95 % interval; NaN is not a value.

    A failed request's latency is +inf; a percentile or interval end among them has no value. The percentile is numpy's,
    interpolated between neighbours; both ends of the interval are observed values.
    """
    there = np.asarray(values, dtype=float)
    there = there[~np.isnan(there)]
    n, needed = int(there.size), needed_for(wanted)
    ranks = percentile_ranks(n, wanted)
    if ranks is None:
        return Percentile(percentile=wanted, n=n, needed=needed, reason=too_few(n, wanted))
    value = percentiles(there, [wanted])[wanted]
    if not math.isfinite(value):
        return Percentile(percentile=wanted, n=n, needed=needed, reason=AMONG_FAILED)
    ordered = np.partition(there, [ranks.low, ranks.high])
    high = float(ordered[ranks.high])
    return Percentile(
        percentile=wanted,
        n=n,
        needed=needed,
        value=value,
        low=float(ordered[ranks.low]),
        high=high if math.isfinite(high) else None,
        reason=None if math.isfinite(high) else f"its interval has no upper end: {AMONG_FAILED}",
    )


@lru_cache(maxsize=4096)
def percentile_ranks(n: int, wanted: float, confidence: float = CONFIDENCE) -> Ranks | None:
    """The order statistics of n values around a percentile; None if no two bound it.

    The narrowest pair that leaves at most (1 - confidence)/2 on either side: P(B <= low) and P(B > high) with
    B ~ binomial(n, p). Ties increase the coverage.
    """
    share, tail = share_of(wanted), (1 - confidence) / 2
    if n < needed_for(wanted, confidence):
        return None
    # B of the values lie below the quantile: it is missed below if B <= low (from 0), above if B > high.
    low = bisect.bisect(range(n), tail, key=lambda k: binomial_at_most(k, n, share)) - 1
    high = bisect.bisect_left(range(n), -tail, key=lambda k: -binomial_at_most(n - 1 - k, n, 1 - share))
    return Ranks(low, high, binomial_at_most(high, n, share) - binomial_at_most(low, n, share))


@lru_cache(maxsize=64)
def mlperf_floor(wanted: float) -> int:
    """Fewest requests from which MLPerf's LoadGen estimates a percentile (its early stopping): 64 for p90, 662 for p99.

    Its rule asks for 99 % confidence that no more than 1 - p of requests are slower than the estimate, which one request
    at least must be: the smallest n with P(binomial(n, 1 - p) <= 1) <= 0.01. Without early stopping the same confidence
    and a margin of (1 - p)/20 take 262,742 for p99. (arXiv:1911.02549; mlcommons/inference, loadgen/early_stopping.cc.)
    """
    share = share_of(wanted)
    n = 2
    while binomial_at_most(1, n, 1 - share) > 1 - MLPERF_CONFIDENCE:
        n += max(1, n // 64)
    while binomial_at_most(1, n - 1, 1 - share) <= 1 - MLPERF_CONFIDENCE:
        n -= 1
    return n


def too_few(n: int, wanted: float) -> str:
    """Why there is no figure, and how many requests it needs."""
    return (
        f"p{wanted:g} of {n:,} request{'s' * (n != 1)} has no interval: {needed_for(wanted):,} are needed "
        f"(MLPerf asks for {mlperf_floor(wanted):,})"
    )
