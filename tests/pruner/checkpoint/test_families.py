"""Exported checkpoints compute what the same model pruned in memory computes, for every family."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pruner.checkpoint.tensors import read_shard
from pruner.prune import prune
from pruner.scoring.targets import Target
from tests.pruner import tiny


@pytest.mark.parametrize("family", tiny.CONFIGS)
def test_an_exported_checkpoint_computes_what_the_model_pruned_in_memory_computes(family: str, tmp_path: Path) -> None:
    source = tiny.make_checkpoint(family, tmp_path / "source")
    (pruned,) = prune(source, tmp_path / "out", [Target("percentage", 30)])
    in_memory = tiny.load(source, torch.float32)
    unpruned = tiny.logits(in_memory)
    tiny.prune_in_memory(in_memory, 30)
    exported = tiny.logits(tiny.load(pruned.folder, torch.float32))
    torch.testing.assert_close(exported, tiny.logits(in_memory), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(exported, unpruned, atol=1e-3)
    assert pruned.width == {24: 17, 40: 28}[pruned.manifest.source_width]


@pytest.mark.parametrize("family", sorted(tiny.SEVERAL_WIDTHS))
def test_every_width_of_a_mixture_of_experts_shrinks_by_its_own_key(family: str, tmp_path: Path) -> None:
    source = tiny.make_checkpoint(family, tmp_path / "source")
    (pruned,) = prune(source, tmp_path / "out", [Target("percentage", 50)])
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (source, pruned.folder))
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {change.key for change in pruned.manifest.width_changes}
    assert all(after[key] == before[key] // 2 for key in changed)
    assert "moe_intermediate_size" in changed


def test_shared_experts_stay_as_many_times_as_wide_as_an_expert(tmp_path: Path) -> None:
    source = tiny.make_checkpoint("glm4-moe", tmp_path / "source")
    (pruned,) = prune(source, tmp_path / "out", [Target("percentage", 50)])
    shapes = {tensor.name: tensor.shape for tensor in read_shard(pruned.folder, "model.safetensors").tensors}
    assert shapes["model.layers.1.mlp.experts.0.gate_proj.weight"] == (12, 16)
    assert shapes["model.layers.1.mlp.shared_experts.gate_proj.weight"] == (24, 16)


def test_a_vision_tower_with_glu_mlps_of_the_same_width_is_left_alone(tmp_path: Path) -> None:
    source = tiny.make_checkpoint("mistral3-multimodal", tmp_path / "source")
    (pruned,) = prune(source, tmp_path / "out", [Target("width", 20)])
    before = {tensor.name: tensor.shape for tensor in read_shard(source, "model.safetensors").tensors}
    after = {tensor.name: tensor.shape for tensor in read_shard(pruned.folder, "model.safetensors").tensors}
    towers = [name for name in before if "vision" in name and "gate_proj" in name]
    assert towers
    assert all(before[name] == after[name] == (tiny.WIDTH, 16) for name in towers)
    config = json.loads((pruned.folder / "config.json").read_text())
    assert config["text_config"]["intermediate_size"] == 20
    assert config["vision_config"]["intermediate_size"] == tiny.WIDTH


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_head_is_neither_added_nor_dropped(tied: bool, tmp_path: Path) -> None:
    source = tiny.make_checkpoint("llama-tied" if tied else "llama", tmp_path / "source")
    (pruned,) = prune(source, tmp_path / "out", [Target("width", 20)])
    names = {tensor.name for tensor in read_shard(pruned.folder, "model.safetensors").tensors}
    assert names == {tensor.name for tensor in read_shard(source, "model.safetensors").tensors}
    assert ("lm_head.weight" in names) != tied
