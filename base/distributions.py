"""Student's t, F, binomial and normal distributions, without scipy, which is 110 MB and takes a second to import.

All but the normal are the regularized incomplete beta function, computed by the continued fraction of DiDonato and Morris (ACM
Transactions on Mathematical Software 18, 1992) with Lentz's method. tests/base/test_distributions.py compares each with scipy's.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

_TINY = 1e-300
_STEPS = 100_000  # the fraction takes about as many steps as the root of its larger parameter


@lru_cache(maxsize=1024)
def t_quantile(probability: float, degrees: float) -> float:
    """The quantile of Student's t; `degrees` is above 0, not necessarily whole, and may be infinite.

    Raises ValueError unless `probability` lies between 0 and 1.
    """
    normal = normal_quantile(probability)
    if math.isinf(degrees) or not normal:
        return normal
    # Newton's method from the normal's quantile, which is nearer to 0: from there no step goes past ours.
    tail, t = min(probability, 1 - probability), abs(normal)
    while (step := (t_two_sided(t, degrees) / 2 - tail) / _t_density(t, degrees)) > 1e-15 * t:
        t += step
    return math.copysign(t + step, normal)


def t_two_sided(t: float, degrees: float) -> float:
    """P(|T| >= |t|): the two-sided p-value of Student's t."""
    return _beta(degrees / (degrees + t * t), t * t / (degrees + t * t), degrees / 2, 0.5)


def f_above(f: float, numerator: float, denominator: float) -> float:
    """P(F >= f) with these degrees of freedom."""
    total = denominator + numerator * f
    return _beta(denominator / total, numerator * f / total, denominator / 2, numerator / 2)


def binomial_at_most(k: int, n: int, share: float) -> float:
    """P(B <= k) of n trials that each succeed with probability `share`."""
    if k < 0 or k >= n:
        return float(k >= n)
    return _beta(1 - share, share, n - k, k + 1)


def normal_quantile(probability: float) -> float:
    """The quantile of the standard normal."""
    return NormalDist().inv_cdf(probability)


def normal_two_sided(z: float) -> float:
    """P(|Z| >= |z|) of the standard normal."""
    return math.erfc(abs(z) / math.sqrt(2))


def _t_density(t: float, degrees: float) -> float:
    scale = math.exp(_log_gamma_ratio(degrees / 2)) / math.sqrt(math.pi * degrees)
    return scale * math.exp(-(degrees + 1) / 2 * math.log1p(t * t / degrees))


def _log_gamma_ratio(a: float) -> float:
    """log(gamma(a + 1/2) / gamma(a))."""
    return a * math.log1p(0.5 / a) + 0.5 * math.log(a) - 0.5 + _stirling(a + 0.5) - _stirling(a)


def _beta(x: float, y: float, a: float, b: float) -> float:
    """The regularized incomplete beta function of x, where y = 1 - x."""
    if x <= 0 or y <= 0:
        return float(y <= 0)
    if x * (a + b + 2) > a + 1:
        return 1 - _beta_below(y, x, b, a)
    return _beta_below(x, y, a, b)


def _beta_below(x: float, y: float, a: float, b: float) -> float:
    """`_beta` below its mean, where the fraction converges fast and what is small keeps its digits."""
    # log of x^a y^b / B(a, b), as distances from the mean: the logarithms of gamma would cancel for large parameters.
    away = x * b - y * a
    log = a * _log(x * (a + b) / a, away / a) + b * _log(y * (a + b) / b, -away / b)
    log += _stirling(a + b) - _stirling(a) - _stirling(b)
    front = math.exp(log) * math.sqrt(a * b / (2 * math.pi * (a + b)))
    value = numerator = _nonzero(a / (a + 1) * (a * y - b * x + 1))
    denominator = 0.0
    for m in range(1, _STEPS):
        n = a + 2 * m - 1
        over = m * (a + m - 1) * (a + b + m - 1) * (b - m) * (x / n) ** 2
        under = m + m * (b - m) * x / n + (a + m) / (n + 2) * (a * y - b * x + 1 + m * (2 - x))
        denominator = 1 / _nonzero(under + over * denominator)
        numerator = _nonzero(under + over / numerator)
        value *= numerator * denominator
        if abs(numerator * denominator - 1) < 1e-16:
            break
    return front / value


def _log(value: float, above_1: float) -> float:
    """Log of a value that is given twice, the second time as its exact distance from 1."""
    return math.log1p(above_1) if abs(above_1) < 0.5 else math.log(value)


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _stirling(z: float) -> float:
    """The error of Stirling's formula for log gamma(z): log gamma(z) - ((z - 1/2) log z - z + log(2 pi) / 2)."""
    if z < 10:
        return math.lgamma(z) - ((z - 0.5) * math.log(z) - z + 0.5 * math.log(2 * math.pi))
    inverse = 1 / z
    series = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)
    return math.fsum(term * inverse ** (2 * n + 1) for n, term in enumerate(series))
