"""What decoding one token should cost, from the model's shape alone: bytes to be read and operations to be done.

Per step every weight matrix is read once, whatever the batch; each request also reads its own keys and values. Two operations
a weight and token, and the same for every key and value looked at. (The embedding table is looked up, not multiplied; where it is
tied, the output layer reads it.) The counts are those of Kaplan et al. 2020 (arXiv 2001.08361) and of the roofline model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reports.runs.records import ConfigurationInfo, ModelShape

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


@dataclass(frozen=True)
class DecodeCost:
    """Of one output token, `in_flight` requests sharing each step."""

    bytes: float
    flops: float
    step_bytes: float  # read in one step, for all requests in it


def decode_cost(info: ConfigurationInfo, in_flight: float, context: float) -> DecodeCost | None:
    """Of a token with `context` tokens before it, `in_flight` requests sharing the step.

    None without a shape, or for a data type of unknown size.
    """
    shape, size = info.shape, BYTES.get((info.dtype or "").removeprefix("torch."))
    if shape is None or size is None:
        return None
    table = 0 if shape.tied_embeddings else shape.vocab_size * shape.hidden_size
    weights = info.parameters - table
    cached = 2 * shape.layers * shape.kv_heads * shape.head_dim * context
    looked_at = 2 * shape.layers * shape.heads * shape.head_dim * context
    step = size * (weights + in_flight * cached)
    return DecodeCost(bytes=step / in_flight, flops=2 * weights + 2 * looked_at, step_bytes=step)


def shape_of(config: Mapping[str, Any]) -> ModelShape | None:
    """The shape that a config.json gives; None where it says too little, or where only some experts are read for a token."""
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
