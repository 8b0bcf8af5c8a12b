"""Effects and interactions of a grid, against means that were put in."""

from __future__ import annotations

import itertools

import pytest

from reports.analysis.grid import Grid, GridFigures
from reports.analysis.records import Analysis
from reports.document.blocks import Items, Table
from reports.sections.grid import grid_section

MEANS = {("none", "64"): 10.0, ("512", "64"): 12.0, ("none", "256"): 15.0, ("512", "256"): 19.8}  # 1.10 apart
BLOCKS = {0: 1.0, 1: 2.0, 2: 0.5}


def levels(*combinations: tuple[str, str]) -> dict[str, dict[str, str]]:
    return {f"{width}/{batch}": {"width": width, "batch": batch} for width, batch in combinations}


def analysed(*combinations: tuple[str, str], wobble: float = 0.001) -> GridFigures:
    noise = itertools.cycle([1 + wobble, 1.0, 1 - wobble])
    values = {
        f"{width}/{batch}": {block: MEANS[width, batch] * shared * next(noise) for block, shared in BLOCKS.items()}
        for width, batch in combinations
    }
    return Grid(levels(*combinations), "none/64").analyse("load", "median_tpot_ms", values, "lower")


def test_an_interaction_is_what_one_is_worth_beside_the_other_over_what_it_is_worth_alone() -> None:
    found = analysed(*MEANS)
    (interaction,) = found.interactions
    assert interaction.levels == {"width": "512", "batch": "256"}
    assert interaction.beside == {}
    assert interaction.comparison.ratio == pytest.approx(1.10, rel=1e-3)
    assert interaction.is_there


def test_an_effect_is_shown_at_each_level_of_the_other_factor() -> None:
    effects = {
        (one.factor, one.level, tuple((one.beside or {"mean": ""}).items())): one.comparison.ratio
        for one in analysed(*MEANS).effects
    }
    assert effects["width", "512", (("batch", "64"),)] == pytest.approx(1.2, rel=1e-3)
    assert effects["width", "512", (("batch", "256"),)] == pytest.approx(1.32, rel=1e-3)
    assert effects["batch", "256", (("width", "512"),)] == pytest.approx(1.65, rel=1e-3)


def test_effects_are_averaged_only_where_no_interaction_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    means = [one.comparison for one in analysed(*MEANS).effects if one.beside is None]
    assert [one.ratio for one in means] == [None, None]
    assert all("interaction was found" in (one.reason or "") for one in means)
    monkeypatch.setitem(MEANS, ("512", "256"), 18.0)  # the product of the two
    found = analysed(*MEANS)
    assert not found.interactions[0].is_there
    means = [one.comparison for one in found.effects if one.beside is None]
    assert [one.ratio for one in means] == pytest.approx([1.2, 1.5], rel=1e-3)


def test_a_combination_that_was_not_measured_leaves_out_what_needs_it() -> None:
    found = analysed(("none", "64"), ("512", "64"), ("none", "256"))
    assert found.interactions == []
    assert [(one.factor, one.beside) for one in found.effects] == [
        ("width", {"batch": "64"}),
        ("batch", {"width": "none"}),
    ]


def test_what_has_no_levels_or_those_of_other_factors_is_no_part_of_the_grid() -> None:
    grid = Grid({"a": {"width": "none"}, "b": {}, "c": {"batch": "2"}, "d": {"width": "512"}}, "a")
    assert grid.factors == ["width"]
    values = {label: {0: 1.0, 1: 2.0} for label in "abcd"}
    (effect,) = grid.analyse("load", "median_tpot_ms", values, "lower").effects
    assert (effect.factor, effect.level, effect.beside) == ("width", "512", {})
    assert Grid({"a": {}, "b": {}}, "a").factors == []


def test_three_factors_have_their_interactions_at_the_references_of_the_third() -> None:
    every = {"".join(own): dict(zip("xyz", own, strict=True)) for own in itertools.product("01", "01", "01")}
    values = {label: {0: 1.0 + int(label, 2), 1: 2.0 + int(label, 2)} for label in every}
    found = Grid(every, "000").analyse("load", "median_tpot_ms", values, "lower")
    assert [(one.levels, one.beside) for one in found.interactions] == [
        ({"x": "1", "y": "1"}, {"z": "0"}),
        ({"x": "1", "z": "1"}, {"y": "0"}),
        ({"y": "1", "z": "1"}, {"x": "0"}),
    ]


def test_the_section_says_which_interactions_are_there(exact: Analysis) -> None:
    assert exact.grid == []
    assert grid_section(exact) is None
    section = grid_section(exact.model_copy(update={"grid": [analysed(*MEANS)]}))
    assert section is not None
    (items,) = (block for block in section.blocks if isinstance(block, Items))
    (said,) = items.items
    assert said.startswith("load, TPOT: beside width 512, batch 256 is worth 1.10")
    (table,) = (block for block in section.blocks if isinstance(block, Table))
    assert table.caption == "load. Reference levels: width none and batch 64."
    assert [row.entries[0].text for row in table.rows] == [
        "width 512, mean over the others",
        "width 512, at batch 64",
        "width 512, at batch 256",
        "batch 256, mean over the others",
        "batch 256, at width none",
        "batch 256, at width 512",
        "interaction: width 512 and batch 256",
    ]
    assert table.rows[0].entries[1].note == "a"
