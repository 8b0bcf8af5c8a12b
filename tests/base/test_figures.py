"""Numbers as people read them."""

from __future__ import annotations

import pytest

from base.figures import figure


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1234.5, "1,230"),
        (9.996, "10.0"),
        (-123456.0, "-123,000"),
        (83.14, "83.1"),
        (0.01234, "0.0123"),
        (9.0, "9.00"),
        (0.0, "0"),
        (-2.5, "-2.50"),
        (1e-9, "0.00000000100"),
    ],
)
def test_figures_have_three_significant_digits(value, words):
    assert figure(value) == words
