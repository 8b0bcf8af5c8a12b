from __future__ import annotations

import pytest

from reports.document.wording import TIMES, TO, figure, in_words, listed, parameters, sentence, times, with_interval
from reports.statistics.ratios import Comparison


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1234.5, "1,234"),
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


@pytest.mark.parametrize(("ratio", "words"), [(1.3149, "1.31"), (0.5, "0.50"), (12.345, "12.3"), (0.01234, "0.0123")])
def test_ratios_have_two_decimals_or_three_digits(ratio, words):
    assert times(ratio) == words + TIMES


def test_an_interval_stands_in_brackets():
    assert with_interval(Comparison(ratio=1.31, low=1.25, high=1.38)) == f"1.31{TIMES} (1.25{TO}1.38)"
    assert with_interval(Comparison(ratio=1.31)) == f"1.31{TIMES}"
    assert with_interval(Comparison(reason="none")) is None


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.9712, 1.0, "0.97-1.00"),
        (0.9921, 1.0, "0.992-1.000"),
        (1.0102, 1.05, "1.0102-1.0500"),
        (1.2, 1.3, "1.20-1.30"),
    ],
)
def test_an_interval_has_the_decimals_from_which_its_verdict_can_be_read(low, high, words):
    found = with_interval(Comparison(ratio=(low + high) / 2, low=low, high=high, margin=0.01))
    assert found.split(" ")[1].strip("()") == words.replace("-", TO)


def test_an_undecided_verdict_has_the_effect_that_would_have_been_decided():
    undecided = Comparison(ratio=1.0, low=0.9, high=1.1, verdict="undecided", smallest_effect=1.25)
    assert in_words(undecided) == f"undecided: a ratio below 0.80{TIMES} or above 1.25{TIMES} would show"
    assert in_words(undecided.model_copy(update={"verdict": "better"})) == "better"
    assert in_words(Comparison(ratio=1.0)) == "no verdict"


@pytest.mark.parametrize(
    ("count", "words"), [(1_235_814_400, "1.24 B"), (812_000_000, "812 M"), (703_000, "703 k"), (12, "12")]
)
def test_parameters_have_a_unit(count, words):
    assert parameters(count) == words


def test_names_are_listed_as_in_speech():
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_a_sentence_keeps_the_capitals_it_has():
    assert sentence("no NVIDIA driver.") == "No NVIDIA driver."
