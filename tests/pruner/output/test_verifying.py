"""Verification finds what a bad disk, or a bug, would do to a finished folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pruner.checkpoint.anatomy import find_mlps
from pruner.checkpoint.folder import open_checkpoint
from pruner.errors import PruneError
from pruner.output.kept import Selection, chooser
from pruner.output.layout import lay_out
from pruner.output.verifying import verify
from pruner.prune import prune
from pruner.scoring.criteria import find_criterion
from pruner.scoring.scoring import score_weights
from pruner.scoring.targets import Target
from tests.pruner import tiny


def look_again(source: Path, folder: Path) -> None:
    checkpoint = open_checkpoint(source)
    anatomy = find_mlps(checkpoint)
    (layout,) = lay_out(checkpoint, anatomy, [Target("width", 17)])
    scores = score_weights(checkpoint, anatomy, find_criterion("maw"), lambda nbytes: None)
    verify(folder, layout, chooser({layout.name: Selection(scores)}, "stable"), lambda nbytes: None)


@pytest.fixture
def finished(llama: Path, tmp_path: Path) -> Path:
    return prune(llama, tmp_path / "out", [Target("width", 17)])[0].folder


def test_a_finished_folder_verifies(llama: Path, finished: Path) -> None:
    look_again(llama, finished)


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("model.embed_tokens.weight", (33, 7)),
        ("model.norm.weight", (0,)),
        ("model.layers.0.mlp.gate_proj.weight", (0, 0)),
        ("model.layers.1.mlp.up_proj.weight", (16, 15)),
        ("model.layers.1.mlp.down_proj.weight", (15, 16)),
    ],
)
def test_one_wrong_value_is_found_and_its_tensor_named(
    name: str, where: tuple[int, ...], llama, finished: Path
) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name][where] += 1

    tiny.rewrite(finished, spoil)
    with pytest.raises(PruneError, match=f"{name} does not read back as it was written"):
        look_again(llama, finished)


def test_rows_in_the_wrong_order_are_found(llama: Path, finished: Path) -> None:
    name = "model.layers.0.mlp.gate_proj.weight"
    tiny.rewrite(finished, lambda tensors: tensors.update({name: tensors[name].flip(0).contiguous()}))
    with pytest.raises(PruneError, match=name):
        look_again(llama, finished)


def test_a_config_with_the_wrong_width_is_found(llama: Path, finished: Path) -> None:
    tiny.reconfigure(finished, intermediate_size=18)
    with pytest.raises(PruneError, match="intermediate_size 18"):
        look_again(llama, finished)
