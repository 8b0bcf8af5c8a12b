"""The cost of decoding one token from the model's shape: bytes read and operations.

A step reads every weight matrix once for any batch size, and the keys and values of each request. It takes two operations per weight
and token, and two per key and value. (The embedding table is indexed, not multiplied; if it is tied, the output layer reads it.) The
counts are those of Kaplan et al. 2020 (arXiv 2001.08361) and of the roofline model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reports.runs.records.configuration import ConfigurationInfo, ModelShape

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


@dataclass(frozen=True)
class DecodeCost:
    """The cost of one output token when `in_flight` requests share each step."""

    bytes: float
    flops: float
    step_bytes: float  # read in one step, for all its requests


def decode_cost(info: ConfigurationInfo, in_flight: float, context: float) -> DecodeCost | None:
    """The cost of a token with `context` tokens before it when `in_flight` requests share the step.

    None without a shape, or for a data type of unknown size.
    """
    shape, size = info.shape, BYTES.get((info.dtype or "").removeprefix("torch."))
    if shape is None or size is None or info.parameters is None:
        return None
    table = 0 if shape.tied_embeddings else shape.vocab_size * shape.hidden_size
    weights = info.parameters - table
    cached = 2 * shape.layers * shape.kv_heads * shape.head_dim * context
    looked_at = 2 * shape.layers * shape.heads * shape.head_dim * context
    step = size * (weights + in_flight * cached)
    return DecodeCost(bytes=step / in_flight, flops=2 * weights + 2 * looked_at, step_bytes=step)


def shape_of(config: Mapping[str, Any]) -> ModelShape | None:
    """The shape from a config.json; None if a field is missing, or if a token reads only some experts."""
    text = config.get("text_config") or config
    try:
        hidden, heads = int(text["hidden_size"]), int(text["num_attention_heads"])
        shape = ModelShape(
            layers=int(text["num_hidden_layers"]),
            hidden_size=hidden,
            vocab_size=int(text["vocab_size"]),
            heads=heads,
            kv_heads=int(text.get("num_key_value_heads") or heads),
            head_dim=int(text.get("head_dim") or hidden // heads),
            tied_embeddings=bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", False))),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return None if any(text.get(key) for key in _EXPERTS) else shape
