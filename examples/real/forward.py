"""Logits of a Llama in a GGUF file, by numpy alone: what a conversion is held against, with no code in common with it.

The file keeps the rows of q and k in llama.cpp's order, in which the two numbers that a rotary angle turns stand side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Llama:
    """fields: the file's metadata by its own names. weight: a tensor by its name without `.weight`; rows are outputs.

    tied: whether the embeddings are the head too, because the file has no other.
    """

    def __init__(self, fields: Mapping[str, Any], weight: Callable[[str], Floats], *, tied: bool) -> None:
        self.fields, self.tied = fields, tied
        self._weight, self._head = weight, "token_embd" if tied else "output"

    def logits(self, tokens: list[int]) -> Floats:
        """[tokens, vocabulary], in float32."""
        hidden = self._weight("token_embd")[tokens]
        for layer in range(self.fields["llama.block_count"]):
            hidden = hidden + self._attention(layer, self._normed(hidden, f"blk.{layer}.attn_norm"))
            hidden = hidden + self._mlp(layer, self._normed(hidden, f"blk.{layer}.ffn_norm"))
        result: Floats = self._normed(hidden, "output_norm") @ self._weight(self._head).T
        return result

    def _attention(self, layer: int, x: Floats) -> Floats:
        heads = self.fields["llama.attention.head_count"]
        groups = self.fields["llama.attention.head_count_kv"]
        q, k, v = (self._weight(f"blk.{layer}.attn_{name}") for name in "qkv")
        size = len(q) // heads
        queries = self._turned((x @ q.T).reshape(len(x), heads, size))
        keys = self._turned((x @ k.T).reshape(len(x), groups, size)).repeat(heads // groups, axis=1)
        values = (x @ v.T).reshape(len(x), groups, size).repeat(heads // groups, axis=1)
        scores = np.einsum("thd,shd->hts", queries, keys) / np.sqrt(size)
        scores[:, np.triu(np.ones((len(x), len(x)), bool), 1)] = -np.inf
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hts,shd->thd", weights, values).reshape(len(x), -1)
        result: Floats = mixed @ self._weight(f"blk.{layer}.attn_output").T
        return result

    def _turned(self, x: Floats) -> Floats:
        """Rotary positions, [tokens, heads, size]: neighbours are pairs."""
        half = x.shape[-1] // 2
        rates = self.fields["llama.rope.freq_base"] ** (-np.arange(half) / half)
        angles = np.outer(np.arange(len(x)), rates)[:, None, :]
        pairs = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)
        result: Floats = np.stack([pairs.real, pairs.imag], axis=-1).reshape(x.shape).astype(np.float32)
        return result

    def _mlp(self, layer: int, x: Floats) -> Floats:
        gate, up, down = (self._weight(f"blk.{layer}.ffn_{name}") for name in ("gate", "up", "down"))
        gated = x @ gate.T
        result: Floats = (gated / (1 + np.exp(-gated)) * (x @ up.T)) @ down.T
        return result

    def _normed(self, x: Floats, name: str) -> Floats:
        epsilon = self.fields["llama.attention.layer_norm_rms_epsilon"]
        result: Floats = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + epsilon) * self._weight(name)
        return result


def open_gguf(file: Path) -> Llama:
    """Its tensors are dequantized as they are needed; `gguf` must be importable."""
    from gguf import GGUFReader
    from gguf.quants import dequantize

    reader = GGUFReader(file)
    tensors = {tensor.name: tensor for tensor in reader.tensors}

    def weight(name: str) -> Floats:
        tensor = tensors[f"{name}.weight"]
        return np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)

    fields = {name: field.contents() for name, field in reader.fields.items()}
    return Llama(fields, weight, tied="output.weight" not in tensors)
