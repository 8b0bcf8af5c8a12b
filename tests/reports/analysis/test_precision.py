"""The goal of a run that decides its number of blocks, and which of its ratios have reached it."""

import pytest

from reports.analysis.precision import Goal, precisions, settled

TPOT, JOULES = "median_tpot_ms", "joules_per_output_token"


@pytest.mark.parametrize(
    "text",
    ["\N{PLUS-MINUS SIGN}2 % on joules_per_output_token and tpot", "+-2% on joules_per_output_token, median_tpot_ms"],
)
def test_a_goal_is_read_as_people_write_it(text):
    assert Goal.parse(text) == Goal(within=0.02, quantities=(JOULES, TPOT))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2% on tpot", "is not like"),
        ("+-0% on tpot", "is not like"),
        ("+-2% on tpod", "no quantity tpod; did you mean tpot?"),
        ("+-2% on happiness", "no quantity happiness; there are output_tokens_per_s, ttft, "),
        ("+-2% on net_joules_per_output_token", "no quantity net_joules_per_output_token"),
    ],
)
def test_a_goal_that_cannot_be_read_says_why(text, said):
    with pytest.raises(ValueError, match=said.replace("?", "[?]")):
        Goal.parse(text)


def of_blocks(*values):
    return dict(enumerate(values))


VALUES = {
    ("single", TPOT): {
        "base": of_blocks(10.0, 10.01, 9.99, 10.0),
        "quiet": of_blocks(9.0, 9.01, 9.0, 8.99),
        "once": {0: 8.0},
    },
    ("batch", TPOT): {
        "base": of_blocks(10.0, 10.01, 9.99, 10.0),
        "noisy": of_blocks(8.0, 12.0, 9.0, 14.0),
    },
}


def test_a_configuration_is_settled_once_every_interval_of_it_is_narrow_and_never_without_one():
    found = precisions(VALUES, "base", (4,))
    assert [one.label for one in found] == ["quiet", "once", "noisy"]
    assert [one.half_width for one in found][1] is None
    assert settled(found, 0.02) == {"quiet"}
    assert settled(found, 1e6) == {"quiet", "noisy"}


def test_a_half_width_is_the_share_by_which_the_interval_goes_to_either_side():
    quiet = precisions(VALUES, "base", (4,))[0]
    assert quiet.comparison.high == pytest.approx(quiet.comparison.ratio * (1 + quiet.half_width))
    assert quiet.comparison.low == pytest.approx(quiet.comparison.ratio / (1 + quiet.half_width))
