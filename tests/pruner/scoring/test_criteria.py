"""Scores equal, in every bit, what optipfair's functions compute with torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from optipfair.pruning.mlp_glu import IMPORTANCE_FUNCTIONS

from pruner.scoring.criteria import Criterion, Floats, find_criterion, random_scores, register

CRITERIA = ("maw", "vow", "pon", "l2")


def row_figures(name: str, rows: Floats) -> Floats:
    figure = find_criterion(name).row_figure
    assert figure is not None
    with np.errstate(all="ignore"):
        return figure(rows)


def scores(name: str, gate: Floats, up: Floats) -> Floats:
    return find_criterion(name).combine(row_figures(name, gate), row_figures(name, up))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("columns", [8, 64, 576, 2048])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_scores_have_the_bits_of_the_reference(criterion, columns: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(columns)
    gate, up = ((torch.randn(200, columns, generator=generator) * 0.02).to(dtype).float() for _ in range(2))
    expected = IMPORTANCE_FUNCTIONS[criterion.upper()](gate, up).numpy()
    ours = scores(criterion, gate.numpy(), up.numpy())
    assert ours.dtype == np.float32
    assert np.array_equal(ours, expected)


@pytest.mark.parametrize("criterion", ["maw", "vow", "pon"])
@pytest.mark.parametrize("columns", [1 + 1, 3, 30, 37])
def test_rows_of_odd_lengths_do_too(criterion, columns: int) -> None:
    gate, up = torch.randn(64, columns), torch.randn(64, columns)
    expected = IMPORTANCE_FUNCTIONS[criterion.upper()](gate, up).numpy()
    ours = scores(criterion, gate.numpy(), up.numpy())
    assert np.array_equal(ours, expected)


def test_an_l2_row_of_another_length_differs_by_rounding_only() -> None:
    rows = torch.randn(64, 37)
    np.testing.assert_allclose(row_figures("l2", rows.numpy()), rows.norm(dim=1).numpy(), rtol=3e-7)


def test_maw_of_a_row_that_does_not_straddle_zero_is_not_its_peak_to_peak() -> None:
    rows = np.array([[1, 3], [-3, -1], [-1, 3]], dtype=np.float32)
    assert row_figures("maw", rows).tolist() == [4, 2, 4]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_row_with_a_bad_value_never_has_a_finite_figure(criterion, bad: float) -> None:
    rows = np.ones((3, 16), dtype=np.float32)
    rows[1, 5] = bad
    assert np.isfinite(row_figures(criterion, rows)).tolist() == [True, False, True]


def test_random_scores_depend_on_the_seed_and_the_mlp_and_repeat() -> None:
    first = random_scores(500, 7, "model.layers.0.mlp")
    assert np.array_equal(first, random_scores(500, 7, "model.layers.0.mlp"))
    assert not np.array_equal(first, random_scores(500, 8, "model.layers.0.mlp"))
    assert not np.array_equal(first, random_scores(500, 7, "model.layers.1.mlp"))
    assert sorted(first) == list(range(500))  # no ties, so that a seed's selection is one selection


def test_random_scores_are_pinned_since_manifests_promise_them() -> None:
    assert random_scores(8, 0, "model.layers.0.mlp").tolist() == [1, 6, 0, 5, 7, 3, 4, 2]


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(ValueError, match="there is a criterion maw already"):
        register(Criterion("maw", words="", origin=""))
