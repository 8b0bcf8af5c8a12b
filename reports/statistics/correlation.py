"""Correlations of two columns: Pearson and Spearman with p-values and n, corrected for multiple tests."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from base.distributions import normal_quantile, t_two_sided
from base.records import Record
from reports.statistics.confidence import CONFIDENCE
from reports.statistics.ranks import mean_ranks

EXACT_UP_TO = 8  # pairs: 40,320 orders are counted in milliseconds


class Correlation(Record):
    """Pearson's r with its p-value and interval, Spearman's rho with its p-value, of n pairs.

    `pearson_p_holm` and `spearman_p_holm` are p-values corrected for all correlations of one call; None for a single
    correlation. `reason` says why there are no figures.
    """

    n: int
    pearson: float | None = None
    pearson_p: float | None = None
    pearson_p_holm: float | None = None
    pearson_low: float | None = None  # 95 %, by Fisher's z; needs four pairs
    pearson_high: float | None = None
    spearman: float | None = None
    spearman_p: float | None = None
    spearman_p_holm: float | None = None
    reason: str | None = None


def correlate(x: Sequence[float | None], y: Sequence[float | None]) -> Correlation:
    """Correlate two columns of equal length; pairs that lack a value (None, NaN) are dropped.

    Pearson's p is two-sided from Student's t with n - 2 degrees of freedom, which assumes normal errors; Spearman's is
    exact (over all permutations) up to 8 pairs, and from the same t beyond.
    """
    pairs = np.array(
        [(a, b) for a, b in zip(x, y, strict=True) if a is not None and b is not None and math.isfinite(a + b)]
    ).reshape(-1, 2)
    n = len(pairs)
    if n < 3:
        return Correlation(n=n, reason=f"{n} pair{'s' * (n != 1)}: three are needed")
    a, b = pairs.T
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return Correlation(n=n, reason="one of the two does not vary")
    r, rho = _pearson(a, b), _pearson(mean_ranks(a), mean_ranks(b))
    half = normal_quantile((1 + CONFIDENCE) / 2) / math.sqrt(n - 3) if n > 3 and abs(r) < 1 else None
    return Correlation(
        n=n,
        pearson=r,
        pearson_p=_p_value(r, n),
        pearson_low=math.tanh(math.atanh(r) - half) if half else None,
        pearson_high=math.tanh(math.atanh(r) + half) if half else None,
        spearman=rho,
        spearman_p=_exact(a, b, rho) if n <= EXACT_UP_TO else _p_value(rho, n),
    )


def _pearson(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    """Pearson's r of two columns that vary."""
    a, b = a - a.mean(), b - b.mean()
    r = float((a / np.linalg.norm(a)) @ (b / np.linalg.norm(b)))
    return min(1.0, max(-1.0, r))


def _p_value(r: float, n: int) -> float:
    """Two-sided, from Student's t with n - 2 degrees of freedom."""
    return 0.0 if abs(r) == 1 else t_two_sided(r * math.sqrt((n - 2) / ((1 - r) * (1 + r))), n - 2)


def correlate_all(
    columns: Mapping[str, Sequence[float | None]], pairs: Sequence[tuple[str, str]] | None = None
) -> dict[tuple[str, str], Correlation]:
    """Correlate every pair of columns, or the given `pairs`, with Holm's correction of the p-values."""
    asked = list(pairs) if pairs is not None else list(itertools.combinations(columns, 2))
    found = {(a, b): correlate(columns[a], columns[b]) for a, b in asked}
    pearson = holm([c.pearson_p for c in found.values()])
    spearman = holm([c.spearman_p for c in found.values()])
    return {
        key: c.model_copy(update={"pearson_p_holm": p, "spearman_p_holm": s})
        for (key, c), p, s in zip(found.items(), pearson, spearman, strict=True)
    }


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction: it bounds the chance of any false finding among all tests.

    The k-th smallest of m is multiplied by m - k + 1, never falls below its predecessors and never exceeds 1. None (no test)
    stays None and does not count in m. (S. Holm, Scand. J. Statist. 6, 1979.)
    """
    made = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for k, (p, i) in enumerate(made):
        highest = max(highest, min(1.0, p * (len(made) - k)))
        corrected[i] = highest
    return corrected


def _exact(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating], rho: float) -> float:
    """Share of all permutations of one column whose rho is at least as far from 0 as the observed one; ties keep their mean ranks.

    The permutations are cached, which makes it 2 ms for 8 pairs.
    """
    ranks_a, ranks_b = (mean_ranks(column) - (len(column) + 1) / 2 for column in (a, b))
    rhos = ranks_a[_orders(len(a))] @ ranks_b / math.sqrt((ranks_a @ ranks_a) * (ranks_b @ ranks_b))
    return float(np.mean(np.abs(rhos) >= abs(rho) - 1e-9))


@lru_cache(maxsize=EXACT_UP_TO)
def _orders(n: int) -> npt.NDArray[np.int8]:
    return np.array(list(itertools.permutations(range(n))), dtype=np.int8)
