"""Percentiles over the trials of a cell, with intervals that hold for dependent requests.

Requests of one trial are not independent: all others queue behind a slow one, and an interval that treats them as independent
covers 7 to 75 % instead of 95 %. Blocks are independent. The interval is Student's t on the logarithms of the blocks' percentiles,
like all intervals over blocks. A percentile of a short trial is biased low, because it rarely contains the longest queues. The bias is
estimated from the two halves of each trial, and the upper end is raised by it (the jackknife of Quenouille, 1956).
tests/truth/statistics/sim_tails.py compares the intervals with simulated queues.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from base.distributions import t_quantile
from loadgen.metrics.latencies import FloatArray
from reports.statistics.confidence import CONFIDENCE, share_of
from reports.statistics.percentiles import Percentile, percentile
from reports.statistics.ranks import mean_ranks

ENOUGH_BLOCKS = 3
BEYOND = 2  # independent requests that each block needs beyond a percentile: with 1, high percentiles cover 92 % at 80 % load


def percentiles_over(
    trials: Sequence[FloatArray], wanted: Sequence[float], *, overlapped: bool = True
) -> list[Percentile]:
    """Each wanted percentile; withheld if all trials together have too few requests.

    With an interval over blocks it is the geometric mean of the blocks' percentiles, otherwise the percentile of all requests.
    A single trial has an interval, of this trial alone, if no two of its requests `overlapped`.

    Args:
        trials: a latency of every request, in the order of sending; NaN is not a value, +inf a failed request.
        wanted: 0 to 100, exclusive.
        overlapped: whether any two requests of a trial were in flight at once.

    """
    there = [found for values in trials if (found := values[~np.isnan(values)]).size]
    together = correlation_time(there) if len(there) >= ENOUGH_BLOCKS else math.nan
    pooled = np.concatenate(there) if there else np.array([])
    return [_percentile(percentile(pooled, p), there, together, overlapped=overlapped) for p in wanted]


def _percentile(pooled: Percentile, trials: Sequence[FloatArray], together: float, *, overlapped: bool) -> Percentile:
    if pooled.value is None:
        return pooled
    if len(trials) == 1 and not overlapped:
        return pooled.model_copy(update={"basis": "this trial"})
    why = _why_no_interval(trials, pooled.percentile, together)
    ends = why or _interval(trials, share_of(pooled.percentile))
    if isinstance(ends, str):
        return pooled.model_copy(update={"low": None, "high": None, "reason": f"no interval: {ends}"})
    value, low, high = ends
    return pooled.model_copy(update={"value": value, "low": low, "high": high, "basis": "blocks", "reason": None})


def _why_no_interval(trials: Sequence[FloatArray], wanted: float, together: float) -> str | None:
    if len(trials) == 1:
        return "one trial"
    if len(trials) < ENOUGH_BLOCKS:
        return f"{len(trials)} blocks, and it takes {ENOUGH_BLOCKS}"
    fewest, needed = min(map(len, trials)), independent_needed(wanted)
    if fewest / together < needed:
        return (
            f"p{wanted:g} takes {needed:,} independent requests in every block, and {fewest:,} that wait for each other say "
            f"as much as {fewest / together:.3g}"
        )
    return None


def independent_needed(wanted: float) -> int:
    """Independent requests per block that an interval needs: 4 for the median, 20 for p90, 200 for p99."""
    share = share_of(wanted)
    return math.ceil(BEYOND / min(share, 1 - share) - 1e-9)


def _interval(trials: Sequence[FloatArray], share: float) -> tuple[float, float, float] | str:
    """Geometric mean of the blocks' percentiles and its interval."""
    whole = np.array([_quantile(values, share) for values in trials])
    halves = np.array([[_quantile(half, share) for half in np.array_split(values, 2)] for values in trials])
    if not (np.isfinite(whole).all() and np.isfinite(halves).all()):
        return "a block's percentile lies among its failed requests"
    if min(whole.min(), halves.min()) <= 0:
        return "a block's percentile is not positive"
    logs = np.log(whole)
    corrected = 2 * logs - np.log(halves).mean(axis=1)
    high = max(logs.mean() + _half_width(logs), corrected.mean() + _half_width(corrected))
    return math.exp(logs.mean()), math.exp(logs.mean() - _half_width(logs)), math.exp(high)


def _half_width(logs: FloatArray) -> float:
    """Half-width of Student's t interval."""
    n = len(logs)
    return t_quantile((1 + CONFIDENCE) / 2, n - 1) * float(logs.std(ddof=1)) / math.sqrt(n)


def _quantile(values: FloatArray, share: float) -> float:
    """The value of rank share * (n + 1), an unbiased quantile of rank; +inf if it is among failed requests."""
    ordered, n = np.sort(values), len(values)
    place = min(max(share * (n + 1), 1.0), float(n)) - 1
    below, part = int(place), place - int(place)
    if part == 0 or math.isinf(ordered[below]):
        return float(ordered[below])
    return float(ordered[below] + part * (ordered[below + 1] - ordered[below]))


def correlation_time(trials: Sequence[FloatArray]) -> float:
    """The number of requests worth one independent request: 1 + twice the sum of the autocorrelations of their ranks.

    Over all trials; summed in pairs until a pair is negative (C. Geyer, Statist. Sci. 7, 1992).
    """
    longest = max(map(len, trials))
    size = 1 << (2 * longest - 1).bit_length()
    power = np.zeros(size // 2 + 1)
    for values in trials:
        ranks = mean_ranks(values)
        power += np.abs(np.fft.rfft(ranks - ranks.mean(), size)) ** 2
    covariance = np.fft.irfft(power, size)[:longest]
    if covariance[0] < 1e-9:  # all equal
        return 1.0
    pairs = (covariance[: longest // 2 * 2] / covariance[0]).reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0)
    return max(1.0, 2 * float(pairs[: negative[0] if negative.size else None].sum()) - 1)
