"""Layouts that are recognised, and errors that are one line before anything is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers as tf

from pruner.checkpoint.anatomy import find_mlps
from pruner.checkpoint.folder import open_checkpoint
from pruner.errors import PruneError
from pruner.prune import prune
from pruner.scoring.targets import Target
from tests.pruner import tiny

GATE = "model.layers.1.mlp.gate_proj.weight"


def refused(folder: Path, message: str) -> None:
    with pytest.raises(PruneError, match=message) as caught:
        prune(folder, folder.parent / "out", [Target("percentage", 10)])
    assert str(caught.value).isprintable()
    assert not (folder.parent / "out").exists()


@pytest.mark.parametrize(
    ("family", "widths", "mlps"),
    [
        ("llama", {"intermediate_size": 40}, 2),
        ("phi3", {"intermediate_size": 40}, 2),
        ("granite4-hybrid", {"shared_intermediate_size": 40}, 2),
        ("mixtral", {"intermediate_size": 40}, 8),
        ("qwen3-moe", {"moe_intermediate_size": 24}, 8),
        ("qwen2-moe", {"moe_intermediate_size": 24, "shared_expert_intermediate_size": 48}, 10),
        (
            "qwen2-moe-with-a-dense-layer",
            {"moe_intermediate_size": 24, "shared_expert_intermediate_size": 48, "intermediate_size": 40},
            6,
        ),
        ("glm4-moe", {"moe_intermediate_size": 24, "intermediate_size": 40}, 6),
    ],
)
def test_widths_are_found_with_the_one_that_matters_most_first(family: str, widths, mlps: int, tmp_path: Path) -> None:
    anatomy = find_mlps(open_checkpoint(tiny.make_checkpoint(family, tmp_path / "source")))
    assert list(anatomy.widths.items()) == list(widths.items())
    assert len(anatomy.mlps) == mlps


def test_layers_come_in_their_numerical_order(tmp_path: Path) -> None:
    source = tiny.make_checkpoint("llama", tmp_path / "source", num_hidden_layers=11)
    prefixes = [mlp.prefix for mlp in find_mlps(open_checkpoint(source)).mlps]
    assert prefixes == [f"model.layers.{layer}.mlp" for layer in range(11)]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (tf.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=64), "model_type gpt2 has no gate, up and down"),
        (
            tf.OPTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=32, vocab_size=64),
            "opt has no",
        ),
        (tf.NemotronConfig(**tiny.DENSE), r"layers\.0\.mlp: has down_proj, up_proj and no GLU"),
        (tf.GptOssConfig(**tiny.DENSE, head_dim=8, num_local_experts=4), "all experts of a layer in one tensor"),
        (tf.GraniteMoeConfig(**tiny.DENSE, num_local_experts=4, num_experts_per_tok=2), "all experts of a layer"),
        (tf.Lfm2Config(**tiny.DENSE), r"layers\.0\.feed_forward: w1, w2, w3 outside of experts"),
    ],
)
def test_an_architecture_that_cannot_be_narrowed_is_refused_before_anything_is_written(
    config, message, tmp_path
) -> None:
    tf.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(tmp_path / "source")
    refused(tmp_path / "source", message)


def test_layers_of_different_widths_are_refused(llama: Path) -> None:
    tiny.reconfigure(llama, intermediate_size=[40, 40])  # as Gemma 3n writes it
    refused(llama, "intermediate_size is a list")


@pytest.mark.parametrize("key", ["quantization_config", "compression_config"])
def test_quantized_weights_are_refused(key: str, llama: Path) -> None:
    tiny.reconfigure(llama, **{key: {"quant_method": "fp8"}})
    refused(llama, f"{key} says the weights are quantized")


def test_float8_weights_are_refused_by_tensor_and_dtype(llama: Path) -> None:
    tiny.rewrite(llama, lambda tensors: tensors.update({GATE: tensors[GATE].to(torch.float8_e4m3fn)}))
    refused(llama, rf"{GATE}: is F8_E4M3; only BF16, F16 and F32")


def test_a_width_that_contradicts_the_config_is_refused_with_both_shapes(llama: Path) -> None:
    tiny.reconfigure(llama, intermediate_size=48)
    refused(llama, r"is \[16, 40\].*intermediate_size 48, hidden_size 16.*requires \[16, 48\]")


def test_one_layer_that_differs_is_refused_by_its_tensor(llama: Path) -> None:
    tiny.rewrite(llama, lambda tensors: tensors.update({GATE: tensors[GATE][:30].clone()}))
    refused(llama, rf"{GATE}: is \[30, 16\]")


@pytest.mark.parametrize("value", [None, 0, -1, "40", 40.0, True])
def test_a_width_that_is_no_whole_number_is_refused(value, llama: Path) -> None:
    tiny.reconfigure(llama, intermediate_size=value)
    refused(llama, "intermediate_size must be a positive whole number")


def test_a_projection_that_is_missing_is_refused_by_its_mlp(llama: Path) -> None:
    tiny.rewrite(llama, lambda tensors: tensors.pop(GATE))
    refused(llama, r"model\.layers\.1\.mlp: has down_proj, up_proj and no GLU")


def test_a_layer_that_is_missing_is_refused(llama: Path) -> None:
    tiny.reconfigure(llama, num_hidden_layers=3)
    refused(llama, "num_hidden_layers is 3, but layer 2 has no GLU MLP")


@pytest.mark.parametrize(
    "extra", ["mlp.ffn_layernorm.weight", "mlp.gate_proj.weight_scale", "mlp.down_proj.lora_A.weight"]
)
def test_an_unknown_tensor_inside_an_mlp_is_refused(extra: str, llama: Path) -> None:
    tiny.rewrite(llama, lambda tensors: tensors.update({f"model.layers.0.{extra}": torch.ones(40)}))
    refused(llama, f"model.layers.0.{extra}: a tensor inside an MLP")


def test_an_mlp_in_an_unknown_place_is_refused(llama: Path) -> None:
    def move(tensors: dict[str, torch.Tensor]) -> None:
        for part in ("gate", "up", "down"):
            tensors[f"adapter.block.{part}_proj.weight"] = tensors[f"model.layers.0.mlp.{part}_proj.weight"].clone()

    tiny.rewrite(llama, move)
    refused(llama, r"adapter\.block: a GLU MLP at an unknown place")


def test_text_config_is_where_a_multimodal_checkpoint_keeps_its_width(tmp_path: Path) -> None:
    source = tiny.make_checkpoint("gemma3-multimodal", tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    config["text_config"]["intermediate_size"] = 48
    (source / "config.json").write_text(json.dumps(config))
    refused(source, "intermediate_size 48")
