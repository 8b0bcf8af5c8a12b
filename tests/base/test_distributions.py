"""Every distribution against scipy's, which shares no code with ours."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from base.distributions import (
    binomial_at_most,
    f_above,
    normal_quantile,
    normal_two_sided,
    t_quantile,
    t_two_sided,
)  # fmt: skip

PROBABILITIES = [1e-6, 0.001, 0.025, 0.3, 0.5, 0.6, 0.9, 0.95, 0.975, 0.995, 0.99975, 1 - 1e-6]
DEGREES = [1, 1.3, 2, 2.5, 3, 4, 7.7, 29, 100, 333.3, 1e4, 1e6, 1e8]


def same(expected: float) -> object:
    return pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("degrees", DEGREES)
def test_students_t_is_scipys_to_twelve_digits(degrees):
    for probability in PROBABILITIES:
        assert t_quantile(probability, degrees) == same(stats.t.ppf(probability, degrees))
    for t in (0.01, 0.5, 1, 2, 5, 40):
        assert t_two_sided(t, degrees) == same(2 * stats.t.sf(t, degrees))
        assert t_two_sided(-t, degrees) == t_two_sided(t, degrees)


@given(st.floats(0.5, 1 - 1e-9), st.floats(1, 1e7))
def test_a_quantile_is_where_its_tail_begins(probability, degrees):
    assert t_two_sided(t_quantile(probability, degrees), degrees) == pytest.approx(2 * (1 - probability), rel=1e-11)


def test_with_endless_degrees_of_freedom_it_is_the_normal():
    for probability in PROBABILITIES:
        assert t_quantile(probability, math.inf) == normal_quantile(probability) == same(stats.norm.ppf(probability))
    for z in (0.1, -1, 2, 5, 20):
        assert normal_two_sided(z) == same(2 * stats.norm.sf(abs(z)))


@pytest.mark.parametrize("numerator", [1, 2, 3, 20])
@pytest.mark.parametrize("denominator", [1, 2, 9, 40, 500])
def test_f_is_scipys_to_twelve_digits(numerator, denominator):
    for f in (0, 1e-6, 0.1, 0.5, 1, 2, 20, 200):
        assert f_above(f, numerator, denominator) == same(stats.f.sf(f, numerator, denominator))


@pytest.mark.parametrize("n", [1, 2, 36, 100, 3688, 10**6])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
def test_the_binomial_is_scipys_to_eleven_digits(n, share):
    middle, spread = n * share, math.sqrt(n * share * (1 - share))
    for k in {-1, 0, 1, n - 1, n, *(int(middle + z * spread) for z in (-5, -2, 0, 1, 2, 5))}:
        assert binomial_at_most(k, n, share) == pytest.approx(stats.binom.cdf(k, n, share), rel=1e-11, abs=1e-14)


@pytest.mark.parametrize("probability", [0, 1, -0.1, 1.1])
def test_no_quantile_outside_0_and_1(probability):
    with pytest.raises(ValueError, match="p must be in the range"):
        t_quantile(probability, 5)
