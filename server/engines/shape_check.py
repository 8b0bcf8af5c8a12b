"""A check that a checkpoint's tensors have the shapes its config.json promises, made before any engine loads it.

vLLM silently cuts MLP tensors that are wider than the config says, and so would serve a wrongly narrowed model; a
folder whose config.json was copied from another width is an easy mistake to make here. Only headers are read.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.engines.base import EngineError
from server.engines.checkpoint import read_config

_MAX_HEADER_BYTES = 100_000_000  # the safetensors format's own limit
# Packed quantized tensors have shapes of their own; they are left to the engine.
_PLAIN_DTYPES = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}
_PREFIX = re.compile(r"^(?:(?:language_)?model\.)*")
_LAYER_TENSOR = re.compile(r"^layers\.(\d+)\.(.+)\.(weight|bias)$")
_SEPARATE = {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}
_FUSED = {"mlp.gate_up_proj", "mlp.down_proj"}
_Header = dict[str, tuple[str, tuple[int, ...]]]  # name → (dtype, shape)


def check_tensor_shapes(checkpoint: Path) -> None:
    """Raise EngineError, naming the first tensor, where the weights and config.json disagree.

    Checked are the layers' MLP and attention projections, the embedding, and that no layer is missing or exceeds
    `num_hidden_layers`. Tensors with other names are left to the engine.
    """
    config = read_config(checkpoint)
    tensors = _read_headers(checkpoint)
    expected = _expected_shapes(config)
    layers = config.get("num_hidden_layers")
    parts: dict[int, set[str]] = {}  # of each layer, those of its MLP
    for name, (dtype, shape) in tensors.items():
        plain = _PREFIX.sub("", name)
        match = _LAYER_TENSOR.match(plain)
        if match is None:
            _compare(name, dtype, shape, expected.get(plain))
            continue
        layer, part, kind = int(match[1]), match[2], match[3]
        if isinstance(layers, int) and layer >= layers:
            raise EngineError(f"{checkpoint}: tensor {name} exceeds config.json's num_hidden_layers, {layers}")
        full = expected.get(part)
        _compare(name, dtype, shape, full if full is None or kind == "weight" else full[:1])
        if kind == "weight" and part in _SEPARATE | _FUSED:
            parts.setdefault(layer, set()).add(part)
    dense = not any(".experts." in name for name in tensors)
    _check_complete(checkpoint, parts, layers if dense and isinstance(layers, int) else None)


def _compare(name: str, dtype: str, shape: tuple[int, ...], expected: tuple[int | None, ...] | None) -> None:
    if expected is None or None in expected or dtype not in _PLAIN_DTYPES or shape == expected:
        return
    raise EngineError(
        f"tensor {name} has shape {list(shape)}, but config.json makes it {list(expected)}; fix config.json"
    )


def _check_complete(checkpoint: Path, parts: Mapping[int, set[str]], layers: int | None) -> None:
    """Each layer that has part of a GLU-MLP has all of it; of a dense model (`layers` given), every layer has one."""
    for layer in range(layers) if parts and layers is not None else parts:
        found = parts.get(layer, set())
        if found not in (_SEPARATE, _FUSED):
            missing = sorted((_FUSED if "mlp.gate_up_proj" in found else _SEPARATE) - found)
            raise EngineError(f"{checkpoint}: layer {layer} lacks {', '.join(missing)}; is a shard missing?")


def _expected_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int | None, ...]]:
    """Shapes `[out, in]` by module name within a layer, and the embedding's; None where the config does not say."""
    hidden = config.get("hidden_size")
    width = config.get("intermediate_size")
    vocabulary = config.get("vocab_size")
    if not isinstance(width, int):  # a list has one width a layer, which the engines themselves refuse or know
        width = None
    heads = config.get("num_attention_heads")
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or (hidden // heads if hidden and heads else None)
    queries = heads * head_dim if heads and head_dim else None
    shared = kv_heads * head_dim if kv_heads and head_dim else None
    shapes: dict[str, tuple[int | None, ...]] = {
        "mlp.gate_proj": (width, hidden),
        "mlp.up_proj": (width, hidden),
        "mlp.gate_up_proj": (2 * width if width else None, hidden),
        "mlp.down_proj": (hidden, width),
        "embed_tokens.weight": (vocabulary, hidden),
        "lm_head.weight": (vocabulary, hidden),
    }
    if config.get("model_type") in _PLAIN_ATTENTION:
        shapes |= {
            "self_attn.q_proj": (queries, hidden),
            "self_attn.k_proj": (shared, hidden),
            "self_attn.v_proj": (shared, hidden),
            "self_attn.o_proj": (hidden, queries),
        }
    return shapes


# Elsewhere the projections may be gated, compressed or differ between layers.
_PLAIN_ATTENTION = {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "gemma3_text", "olmo2"}


def _read_headers(checkpoint: Path) -> _Header:
    """Name, dtype and shape of every tensor in the folder's .safetensors files."""
    files = sorted(checkpoint.glob("*.safetensors"))
    index = checkpoint / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise EngineError(f"{index}: not a safetensors index ({error!r})") from error
        files = [checkpoint / name for name in names]
    elif (single := checkpoint / "model.safetensors") in files:
        files = [single]
    if not files:
        raise EngineError(f"{checkpoint}: there are no .safetensors files; other weight formats are not served")
    tensors: _Header = {}
    for file in files:
        tensors |= _read_header(file)
    return tensors


def _read_header(file: Path) -> _Header:
    """One file's header: eight bytes of length, then JSON (https://huggingface.co/docs/safetensors)."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, _MAX_HEADER_BYTES)))
        return {
            name: (entry["dtype"], tuple(entry["shape"])) for name, entry in header.items() if name != "__metadata__"
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise EngineError(f"{file}: not a readable safetensors file ({error})") from error
