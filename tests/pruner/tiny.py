"""Tiny random checkpoints of every family, written by transformers, and the same pruning done in memory with torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from torch import nn

HIDDEN, WIDTH = 16, 40
DENSE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": HIDDEN,
    "intermediate_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": WIDTH,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


_EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}


def _multimodal_gemma() -> Any:
    return tf.Gemma3Config(
        text_config=DENSE | {"head_dim": 8, "sliding_window": 8}, vision_config=_VISION, mm_tokens_per_image=4
    )


def _multimodal_mistral() -> Any:
    text = DENSE | {"model_type": "mistral", "head_dim": 8}
    vision = _VISION | {"model_type": "pixtral", "head_dim": 8}
    return tf.Mistral3Config(text_config=text, vision_config=vision, image_token_index=5)


def _qwen2_moe(**changes: Any) -> Any:
    return tf.Qwen2MoeConfig(**DENSE, **_EXPERTS, num_experts=4, shared_expert_intermediate_size=48, **changes)


CONFIGS: dict[str, Any] = {
    "llama": lambda: tf.LlamaConfig(**DENSE),
    "llama-with-mlp-bias": lambda: tf.LlamaConfig(**DENSE, mlp_bias=True),
    "llama-tied": lambda: tf.LlamaConfig(**DENSE, tie_word_embeddings=True),
    "mistral": lambda: tf.MistralConfig(**DENSE, head_dim=8),
    "qwen2": lambda: tf.Qwen2Config(**DENSE),
    "qwen3": lambda: tf.Qwen3Config(**DENSE, head_dim=8),
    "gemma": lambda: tf.GemmaConfig(**DENSE, head_dim=8),
    "gemma2": lambda: tf.Gemma2Config(**DENSE, head_dim=8),
    "gemma3-text": lambda: tf.Gemma3TextConfig(**DENSE, head_dim=8),
    "gemma3-multimodal": _multimodal_gemma,
    "mistral3-multimodal": _multimodal_mistral,
    "olmo": lambda: tf.OlmoConfig(**DENSE),
    "olmo2": lambda: tf.Olmo2Config(**DENSE),
    "olmo3": lambda: tf.Olmo3Config(**DENSE),
    "cohere2": lambda: tf.Cohere2Config(**DENSE),
    "granite": lambda: tf.GraniteConfig(**DENSE),
    "smollm3": lambda: tf.SmolLM3Config(**DENSE),
    "phi3": lambda: tf.Phi3Config(**DENSE),
    "glm4": lambda: tf.Glm4Config(**DENSE, head_dim=8),
    "granite4-hybrid": lambda: tf.GraniteMoeHybridConfig(
        **DENSE,
        shared_intermediate_size=WIDTH,
        num_local_experts=0,
        layer_types=["attention", "attention"],
        mamba_n_heads=4,
        mamba_d_head=8,
    ),
    "mixtral": lambda: tf.MixtralConfig(**DENSE, num_local_experts=4),
    "qwen3-moe": lambda: tf.Qwen3MoeConfig(**DENSE, **_EXPERTS, head_dim=8, num_experts=4),
    "qwen2-moe": _qwen2_moe,
    "qwen2-moe-with-a-dense-layer": lambda: _qwen2_moe(mlp_only_layers=[1]),
    "glm4-moe": lambda: tf.Glm4MoeConfig(
        **DENSE, **_EXPERTS, head_dim=8, n_routed_experts=4, n_shared_experts=2, first_k_dense_replace=1
    ),
    "olmoe": lambda: tf.OlmoeConfig(**DENSE, num_experts=4, num_experts_per_tok=2),
}
SEVERAL_WIDTHS = {"qwen2-moe", "qwen2-moe-with-a-dense-layer", "glm4-moe"}


def make_model(family: str, dtype: torch.dtype = torch.bfloat16, seed: int = 0, **changes: Any) -> Any:
    config = CONFIGS[family]()
    for key, value in changes.items():
        setattr(config, key, value)
    auto = tf.AutoModelForImageTextToText if family.endswith("multimodal") else tf.AutoModelForCausalLM
    model = auto.from_config(config, dtype=dtype).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms too: zeros and ones would hide mistakes
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    model.tie_weights()
    return model


def make_checkpoint(family: str, folder: Path, dtype: torch.dtype = torch.bfloat16, **changes: Any) -> Path:
    make_model(family, dtype, **changes).save_pretrained(folder)
    return folder


def load(folder: Path, dtype: torch.dtype | None = None) -> Any:
    config = tf.AutoConfig.from_pretrained(folder)
    auto = tf.AutoModelForImageTextToText if hasattr(config, "vision_config") else tf.AutoModelForCausalLM
    model = auto.from_pretrained(folder, dtype=dtype or "auto").eval()
    model.set_experts_implementation("eager")  # torch's grouped product requires expert widths in multiples of 16 bytes
    return model


def logits(model: Any) -> torch.Tensor:
    torch.set_num_threads(1)
    tokens = torch.tensor([[1, 7, 3, 11, 60, 4, 9, 33]])
    with torch.no_grad():
        return model(tokens).logits


def prune_in_memory(model: Any, percentage: float) -> None:
    """The study's method on live modules: MAW, float32, of equal scores the lower index; text MLPs only."""
    for name, module in model.named_modules():
        if "vision" in name:
            continue
        if hasattr(module, "gate_up_proj") and isinstance(module.gate_up_proj, nn.Parameter):
            _prune_experts(module, percentage)
        elif hasattr(module, "input_linear") and hasattr(module, "output_linear"):
            kept = _kept(*module.input_linear.weight.chunk(2), percentage)
            _narrow(module.input_linear, torch.cat([kept, kept + module.output_linear.in_features]), 0)
            _narrow(module.output_linear, kept, 1)
        elif hasattr(module, "gate_up_proj"):
            kept = _kept(*module.gate_up_proj.weight.chunk(2), percentage)
            _narrow(module.gate_up_proj, torch.cat([kept, kept + module.down_proj.in_features]), 0)
            _narrow(module.down_proj, kept, 1)
        elif hasattr(module, "gate_proj"):
            kept = _kept(module.gate_proj.weight, module.up_proj.weight, percentage)
            _narrow(module.gate_proj, kept, 0)
            _narrow(module.up_proj, kept, 0)
            _narrow(module.down_proj, kept, 1)


def _kept(gate: torch.Tensor, up: torch.Tensor, percentage: float) -> torch.Tensor:
    def spread(weight: torch.Tensor) -> torch.Tensor:
        return weight.float().max(dim=1).values + weight.float().min(dim=1).values.abs()

    neurons = len(gate)
    stay = neurons - min(int(percentage / 100 * neurons), neurons - 1)
    order = (spread(gate) + spread(up)).sort(descending=True, stable=True).indices
    return order[:stay].sort().values


def _narrow(linear: nn.Linear, kept: torch.Tensor, axis: int) -> None:
    linear.weight = nn.Parameter(linear.weight.detach().index_select(axis, kept))
    if linear.bias is not None and axis == 0:
        linear.bias = nn.Parameter(linear.bias.detach()[kept])


def _prune_experts(module: Any, percentage: float) -> None:
    gates_ups, downs = [], []
    for gate_up, down in zip(module.gate_up_proj.detach(), module.down_proj.detach(), strict=True):
        gate, up = gate_up.chunk(2)
        kept = _kept(gate, up, percentage)
        gates_ups.append(torch.cat([gate[kept], up[kept]]))
        downs.append(down[:, kept])
    module.gate_up_proj = nn.Parameter(torch.stack(gates_ups))
    module.down_proj = nn.Parameter(torch.stack(downs))
    module.intermediate_dim = downs[0].shape[1]


def reconfigure(folder: Path, **changes: Any) -> None:
    """Overwrite keys of config.json; None removes a key."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def rewrite(folder: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the tensors of a checkpoint of one file."""
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def reshard(folder: Path, shards: list[list[str]], *, reverse: bool = False) -> None:
    """Spread a checkpoint of one file over several; `reverse` lays the tensors out in the other order than the library.

    The files are put together by hand, since the library chooses its own order.
    """
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    assert sorted(name for names in shards for name in names) == sorted(tensors)
    weight_map = {}
    for number, names in enumerate(shards, 1):
        shard_name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        (folder / shard_name).write_bytes(_file({name: tensors[name] for name in (names[::-1] if reverse else names)}))
        weight_map |= dict.fromkeys(names, shard_name)
    total = sum(tensor.nbytes for tensor in tensors.values())
    parameters = sum(tensor.numel() for tensor in tensors.values())
    index = {"metadata": {"total_parameters": parameters, "total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _file(tensors: dict[str, torch.Tensor]) -> bytes:
    names = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32"}
    header: dict[str, Any] = {"__metadata__": {"format": "pt", "made": "by hand"}}
    data = b""
    for name, tensor in tensors.items():
        raw = tensor.contiguous().view(torch.uint8).numpy().tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        data += raw
    head = json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + data


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    """Every stored tensor, read by the safetensors library."""
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}
