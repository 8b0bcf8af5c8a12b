"""What is needed to share a window's joules over its requests, before the joules are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadgen.metrics.latencies import FloatArray


@dataclass(frozen=True)
class TokenCosts:
    """Joules less idle power of a prompt token, an output token and a request, as an energy model has them.

    `covariance` [3, 3] is theirs, in square joules; `deviation` is how far trials lie from the line, as a share, one standard
    deviation; `quantile` is the half-width of a 95 % interval in standard deviations.
    """

    joules: tuple[float, float, float]
    covariance: FloatArray
    deviation: float
    quantile: float


def equal_shares(start_s: FloatArray, end_s: FloatArray, window_s: float) -> tuple[FloatArray, float]:
    """Share a window's seconds at each moment equally over what is in flight then: [n] seconds, and those with nothing in flight.

    `start_s` and `end_s` are [n] seconds after the window's start; NaN: it was never in flight, and gets nothing. Between two
    changes the number in flight is constant, so that a share is a difference of one cumulative sum over the sorted changes:
    n log n. Shares and the rest add up to `window_s`.
    """
    known = ~(np.isnan(start_s) | np.isnan(end_s))
    starts, ends = (np.clip(times[known], 0.0, window_s) for times in (start_s, end_s))
    ends = np.maximum(starts, ends)
    moments = np.concatenate([starts, ends, [0.0, window_s]])
    changes = np.concatenate([np.ones(len(starts)), -np.ones(len(ends)), [0.0, 0.0]])
    order = np.argsort(moments, kind="stable")
    lengths = np.diff(moments[order])
    in_flight = np.cumsum(changes[order])[:-1]
    busy = in_flight > 0
    each = np.where(busy, lengths / np.where(busy, in_flight, 1.0), 0.0)
    up_to = np.empty(len(moments))  # of one that is in flight from the window's start, up to each moment
    up_to[order] = np.concatenate([[0.0], np.cumsum(each)])
    shares = np.zeros(len(start_s))
    shares[known] = up_to[len(starts) : 2 * len(starts)] - up_to[: len(starts)]
    return shares, float(lengths[~busy].sum())
