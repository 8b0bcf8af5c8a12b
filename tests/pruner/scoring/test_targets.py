"""From a target to a width: the study's widths, rounding, and targets out of range."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.errors import PruneError
from pruner.scoring.targets import Target


def test_percentages_give_the_widths_of_the_study() -> None:
    widths = [Target("percentage", p).width(8192, 2048) for p in (0, 10, 20, 30, 40, 50, 60)]
    assert widths == [8192, 7373, 6554, 5735, 4916, 4096, 3277]


def test_a_percentage_is_rounded_in_floating_point_as_the_study_did() -> None:
    assert 29 * 25600 // 100 == 7424  # exactly; in floating point it is a neuron fewer that goes
    assert Target("percentage", 29).width(25600, 2048) == 18177


def test_just_below_a_hundred_per_cent_leaves_one_neuron() -> None:
    assert {Target("percentage", math.nextafter(100, 0)).width(n, 2048) for n in (1, 3, 7, 8192, 25600)} == {1}


@pytest.mark.parametrize(
    ("ratio", "width"), [(3.6, 7373), (1.6, 3277), (2.4, 4915), (1, 2048), (1.00024, 2048), (1.00025, 2049)]
)
def test_a_ratio_gives_the_nearest_integer(ratio: float, width: int) -> None:
    assert Target("ratio", ratio).width(8192, 2048) == width


@pytest.mark.parametrize(
    ("asked", "multiple", "given_"),
    [(7373, 64, 7360), (7373, 128, 7424), (96, 64, 128), (8190, 128, 8192), (5, 64, 64), (100, 60, 120)],
)
def test_a_multiple_is_the_nearest_and_ties_go_up(asked: int, multiple: int, given_: int) -> None:
    assert Target("width", asked).width(8192, 2048, multiple) == given_


def test_a_multiple_never_exceeds_the_source() -> None:
    assert Target("width", 8000).width(8000, 2048, 128) == 7936


@settings(deadline=None)
@given(
    source=st.integers(1, 30000),
    kind=st.sampled_from(["ratio", "percentage", "width"]),
    value=st.floats(0, 100, allow_nan=False) | st.integers(1, 30000).map(float),
    multiple=st.integers(1, 300),
)
def test_a_width_is_always_a_multiple_within_the_source_or_an_error(source, kind, value, multiple) -> None:
    try:
        width = Target(kind, value).width(source, 2048, multiple)
    except PruneError:
        return
    assert 1 <= width <= source
    assert width % multiple == 0


@pytest.mark.parametrize(
    ("target", "flag"),
    [
        (Target("ratio", 4.1), "--expansion-ratio 4.1"),
        (Target("ratio", 0.0001), "--expansion-ratio 0.0001"),
        (Target("ratio", float("nan")), "--expansion-ratio nan"),
        (Target("ratio", float("inf")), "--expansion-ratio inf"),
        (Target("ratio", 1e308), re.escape("--expansion-ratio 1e+308: gives width 1000000000000000")),
        (Target("ratio", -1e308), re.escape("--expansion-ratio -1e+308")),
        (Target("percentage", -1), "--pruning-percentage -1"),
        (Target("percentage", 100), "--pruning-percentage 100: must be at least 0 and below 100"),
        (Target("percentage", 100.5), "--pruning-percentage 100.5"),
        (Target("width", 0), "--intermediate-size 0"),
        (Target("width", 8193), "--intermediate-size 8193"),
        (Target("width", 12.5), "--intermediate-size 12.5"),
    ],
)
def test_what_is_out_of_range_is_refused_by_its_flag(target: Target, flag: str) -> None:
    with pytest.raises(PruneError, match=flag):
        target.width(8192, 2048)


@pytest.mark.parametrize("multiple", [0, -8, 8193])
def test_an_impossible_multiple_is_refused_by_its_flag(multiple: int) -> None:
    with pytest.raises(PruneError, match="--multiple-of"):
        Target("width", 100).width(8192, 2048, multiple)


def test_a_target_reads_as_it_was_asked_for() -> None:
    assert [str(Target("ratio", 3.6)), str(Target("percentage", 10)), str(Target("width", 1234567))] == [
        "ratio 3.6",
        "percentage 10",
        "width 1234567",
    ]
