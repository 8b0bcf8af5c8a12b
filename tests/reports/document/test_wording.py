from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.figures import figure, percent
from reports.document import wording
from reports.document.wording import TIMES, TO
from reports.statistics.ratios import Comparison, Interval


@pytest.mark.parametrize(("ratio", "words"), [(1.3149, "1.31"), (0.5, "0.50"), (12.345, "12.3"), (0.01234, "0.0123")])
def test_ratios_have_two_decimals_or_three_digits(ratio, words):
    assert wording.times(ratio) == words + TIMES


def test_an_interval_stands_in_brackets():
    assert wording.with_interval(Comparison(ratio=1.31, low=1.25, high=1.38)) == f"1.31{TIMES} (1.25{TO}1.38)"
    assert wording.with_interval(Comparison(ratio=1.31)) == f"1.31{TIMES}"
    assert wording.with_interval(Comparison(reason="none")) is None


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.9712, 1.0, "0.97-1.00"),
        (0.9921, 1.0, "0.992-1.00"),
        (1.0102, 1.05, "1.01-1.05"),
        (1.2, 1.3, "1.20-1.30"),
    ],
)
def test_an_interval_has_a_third_decimal_where_that_shows_its_verdict(low, high, words):
    found = wording.with_interval(Comparison(ratio=(low + high) / 2, low=low, high=high, margin=0.01))
    assert found.split(" ")[1].strip("()") == words.replace("-", TO)


def test_an_undecided_verdict_has_the_effect_that_would_have_been_decided():
    undecided = Comparison(ratio=1.0, low=0.9, high=1.1, verdict="undecided", smallest_effect=1.25)
    assert wording.in_words(undecided) == f"undecided: a ratio below 0.80{TIMES} or above 1.25{TIMES} would show"
    assert wording.in_words(undecided.model_copy(update={"verdict": "better"})) == "better"
    assert wording.in_words(Comparison(ratio=1.0)) == "no verdict"


@pytest.mark.parametrize(
    ("count", "words"), [(1_235_814_400, "1.24 B"), (812_000_000, "812 M"), (703_000, "703 k"), (12, "12")]
)
def test_parameters_have_a_unit(count, words):
    assert wording.parameters(count) == words


def test_names_are_listed_as_in_speech():
    assert [wording.listed(["a"]), wording.listed(["a", "b"]), wording.listed(["a", "b", "c"])] == [
        "a",
        "a and b",
        "a, b and c",
    ]


def test_a_sentence_keeps_the_capitals_it_has():
    assert wording.sentence("no NVIDIA driver.") == "No NVIDIA driver."


@pytest.mark.parametrize(
    ("share", "words"), [(0.05, "5 %"), (0.1234, "12.3 %"), (1.471, "147 %"), (12.345, "1,230 %"), (0.0, "0 %")]
)
def test_a_share_is_in_percent(share, words):
    assert percent(share) == words
    assert percent(share, signed=True).lstrip("+") == words


def significant_digits(number: str) -> int:
    digits = number.replace(",", "").lstrip("-+0.").replace(".", "")
    return len(digits if "." in number else digits.rstrip("0"))


@given(st.lists(st.floats(1e-9, 1e9), min_size=3, max_size=3).map(sorted), st.sampled_from([None, 0.01, 0.05]))
def test_no_figure_has_more_than_three_significant_digits(values, margin):
    low, middle, high = values
    found = Comparison(ratio=middle, low=low, high=high, margin=margin)
    texts = [
        figure(middle), figure(-middle), wording.times(middle), percent(middle), percent(-middle, signed=True), wording.with_interval(found),
        wording.from_to(found), wording.mean_with_interval(Interval(mean=middle, low=low, high=high, n=3), "J"), wording.smallest_effect(1 + middle),
    ]  # fmt: skip
    numbers = [number for text in texts for number in re.findall(r"\d[\d,]*(?:\.\d+)?", text.replace("95 %", ""))]
    assert max(map(significant_digits, numbers)) <= 3


def test_one_of_a_thing_has_no_plural():
    assert [wording.counted(number, "block") for number in (0, 1, 1234)] == ["0 blocks", "1 block", "1,234 blocks"]
