"""How two columns of figures go together: Pearson and Spearman with p-values and n, corrected when many are asked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy

from base.records import Record
from reports.statistics.confidence import CONFIDENCE

EXACT_UP_TO = 8  # pairs: 40,320 orders are counted in milliseconds


class Correlation(Record):
    """Pearson's r with its p-value and interval, Spearman's rho with its p-value, of n pairs.

    `pearson_p_holm` and `spearman_p_holm` are the p-values corrected for all correlations asked at once; None when it was
    the only one. `reason` says why there are no figures.
    """

    n: int
    pearson: float | None = None
    pearson_p: float | None = None
    pearson_p_holm: float | None = None
    pearson_low: float | None = None  # 95 %, by Fisher's z; four pairs at least
    pearson_high: float | None = None
    spearman: float | None = None
    spearman_p: float | None = None
    spearman_p_holm: float | None = None
    reason: str | None = None


def correlate(x: Sequence[float | None], y: Sequence[float | None]) -> Correlation:
    """Correlate two columns of equal length; pairs that lack a value (None, NaN) are left out and not counted.

    Pearson's p is two-sided from Student's t with n - 2 degrees of freedom, which supposes normal errors; Spearman's is
    exact (every order of the ranks counted) up to 8 pairs, beyond that from the same t.
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
    r = _pearson(a, b)
    ranks_a, ranks_b = scipy.stats.rankdata(a), scipy.stats.rankdata(b)
    rho = _pearson(ranks_a, ranks_b)
    low, high = _fisher(r, n)
    return Correlation(
        n=n,
        pearson=r,
        pearson_p=_t_test(r, n),
        pearson_low=low,
        pearson_high=high,
        spearman=rho,
        spearman_p=_exact(ranks_a, ranks_b, rho) if n <= EXACT_UP_TO else _t_test(rho, n),
    )


def correlate_all(
    columns: Mapping[str, Sequence[float | None]], pairs: Sequence[tuple[str, str]] | None = None
) -> dict[tuple[str, str], Correlation]:
    """Correlate every pair of columns, or the `pairs` named, with p-values corrected for their number by Holm."""
    asked = list(pairs) if pairs is not None else list(itertools.combinations(columns, 2))
    found = {(a, b): correlate(columns[a], columns[b]) for a, b in asked}
    pearson = holm([c.pearson_p for c in found.values()])
    spearman = holm([c.spearman_p for c in found.values()])
    return {
        key: c.model_copy(update={"pearson_p_holm": p, "spearman_p_holm": s})
        for (key, c), p, s in zip(found.items(), pearson, spearman, strict=True)
    }


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction: below 0.05 means so at a 5 % chance of any false finding among them all.

    The k-th smallest of m is multiplied by m - k + 1, never falls below its predecessors and never exceeds 1. None (a test
    that could not be made) stays None and does not count in m. (S. Holm, Scand. J. Statist. 6, 1979.)
    """
    made = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for k, (p, i) in enumerate(made):
        highest = max(highest, min(1.0, p * (len(made) - k)))
        corrected[i] = highest
    return corrected


def _pearson(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float(np.clip(a @ b / math.sqrt((a @ a) * (b @ b)), -1.0, 1.0))


def _t_test(r: float, n: int) -> float:
    if abs(r) == 1:
        return 0.0
    return float(2 * scipy.stats.t.sf(abs(r) * math.sqrt((n - 2) / (1 - r * r)), n - 2))


def _fisher(r: float, n: int) -> tuple[float | None, float | None]:
    if n < 4 or abs(r) == 1:
        return None, None
    half = float(scipy.stats.norm.ppf((1 + CONFIDENCE) / 2)) / math.sqrt(n - 3)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


def _exact(ranks_a: npt.NDArray[np.floating], ranks_b: npt.NDArray[np.floating], rho: float) -> float:
    """Share of all orders of one column whose rho is as far from 0 as the one seen; ties keep their mean ranks."""
    a, b = ranks_a - ranks_a.mean(), ranks_b - ranks_b.mean()
    rhos = a[_orders(len(a))] @ b / math.sqrt((a @ a) * (b @ b))
    return float(np.mean(np.abs(rhos) >= abs(rho) - 1e-9))


@lru_cache(maxsize=EXACT_UP_TO)
def _orders(n: int) -> npt.NDArray[np.int8]:
    return np.array(list(itertools.permutations(range(n))), dtype=np.int8)
