"""Tensor for tensor what optipfair 0.4.2, the study's library, makes of the same model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from optipfair import prune_model

from pruner.prune import prune
from pruner.scoring.targets import Target
from tests.pruner import tiny

PAPER = (10, 20, 30, 40, 50, 60)


@pytest.fixture(scope="module")
def wide_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bfloat16 Llama whose 512 neurons a layer tie often."""
    folder = tmp_path_factory.mktemp("optipfair") / "source"
    return tiny.make_checkpoint("llama", folder, hidden_size=32, intermediate_size=512)


@pytest.mark.parametrize("criterion", ["maw", "vow", "pon", "l2"])
def test_every_tensor_equals_optipfairs_for_all_widths_of_the_study(
    criterion, wide_llama: Path, tmp_path: Path
) -> None:
    targets = [Target("percentage", percentage) for percentage in PAPER]
    pruned = prune(wide_llama, tmp_path / "out", targets, criterion=criterion, tie_break="torch")
    for percentage, ours in zip(PAPER, pruned, strict=True):
        reference = prune_model(
            tiny.load(wide_llama),
            neuron_selection_method=criterion.upper(),
            pruning_percentage=percentage,
            show_progress=False,
        )
        reference.save_pretrained(tmp_path / f"reference-{percentage}")
        expected, found = (tiny.tensors_of(folder) for folder in (tmp_path / f"reference-{percentage}", ours.folder))
        assert expected.keys() == found.keys()
        for name in expected:
            assert expected[name].dtype == found[name].dtype
            assert torch.equal(expected[name], found[name]), name
        configs = [
            json.loads((f / "config.json").read_text()) for f in (tmp_path / f"reference-{percentage}", ours.folder)
        ]
        assert configs[0]["intermediate_size"] == configs[1]["intermediate_size"] == ours.width


def test_that_comparison_has_ties_to_decide(wide_llama: Path, tmp_path: Path) -> None:
    targets = [Target("percentage", percentage) for percentage in PAPER]
    by_torch = prune(wide_llama, tmp_path / "torch", targets, tie_break="torch")
    by_index = prune(wide_llama, tmp_path / "stable", targets, tie_break="stable")
    assert all(layer.ties_at_cut >= 1 for one in by_torch for layer in one.manifest.layers)
    assert any(layer.ties_at_cut > 1 for one in by_torch for layer in one.manifest.layers)
    assert [one.manifest.layers for one in by_torch] != [one.manifest.layers for one in by_index]
