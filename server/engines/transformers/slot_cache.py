"""A key/value cache of fixed slots for transformers models, and the attention and mask functions that go with it.

Each layer keeps keys and values in preallocated tensors `[slots, kv_heads, capacity, head_dim]`. The running requests
occupy the first slots without gaps, so that a decoding step reads a plain slice of them: no gather, no padding rows,
and no more positions than the longest request has. Each row has its own position, which transformers' caches
do not provide for; it reaches the mask as a tensor-valued query offset.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward

ATTENTION = "prunebench_slots"  # to be given to `from_pretrained(attn_implementation=…)`


class SlotCache(Cache):  # type: ignore[misc]
    """Where the keys and values of the next forward call go. Call `prefill` or `decode` before each one.

    `slots` requests of up to `capacity` tokens each. The tensors are made at the first forward call, when a layer shows
    its number of heads and its dtype.
    """

    def __init__(self, slots: int, capacity: int) -> None:
        super().__init__(layer_class_to_replicate=lambda: _SlotLayer(self))
        self.slots = slots
        self.capacity = capacity
        self.first = 0  # the first slot written
        self.rows = 0  # how many slots take part
        self.reach = 0  # positions attended to: the longest row's, the new tokens included
        self.offset: int | Tensor = 0  # the position of each row's first new token; a tensor `[rows]` where they differ
        self._positions: Tensor | None = None
        self._flat: dict[int, Tensor] = {}

    def prefill(self, slot: int, rows: int, start: int, length: int) -> None:
        """The next call writes `length` positions from `start` on, in each of `rows` slots from `slot` on."""
        self.first, self.rows, self.reach, self.offset = slot, rows, start + length, start
        self._positions = None

    def decode(self, positions: Sequence[int], device: torch.device) -> Tensor:
        """The next call writes one position in each of the first `len(positions)` slots. Returns them as `[rows, 1]`."""
        self.first, self.rows, self.reach = 0, len(positions), max(positions) + 1
        self._positions = torch.tensor(positions, device=device)
        self.offset = self._positions if min(positions) + 1 < self.reach else positions[0]
        self._flat.clear()
        return self._positions.unsqueeze(1)

    def flat_index(self, heads: int) -> Tensor | None:
        """Rows of a layer's `[slots · heads · capacity, head_dim]` view that a decoding step writes; None in a prefill.

        Made once a step for all layers, since they nearly always have the same number of heads.
        """
        if self._positions is None:
            return None
        index = self._flat.get(heads)
        if index is None:
            starts = torch.arange(0, self.rows * heads * self.capacity, self.capacity, device=self._positions.device)
            index = (starts.view(self.rows, heads) + self._positions.unsqueeze(1)).view(-1)
            self._flat[heads] = index
        return index

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a request's first `length` positions into another slot, in every layer."""
        for layer in self.layers:
            for store in (layer.keys, layer.values):
                store[target, :, :length] = store[source, :, :length]

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Write new keys and values `[rows, kv_heads, length, head_dim]`; return all that may be attended to."""
        while len(self.layers) <= layer_idx:
            self.layers.append(_SlotLayer(self))
        keys, values = self.layers[layer_idx].update(key_states, value_states)
        return keys, values

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:  # noqa: ARG002 - transformers' signature
        """How many positions `update` will return, and the first of them."""
        return self.reach, 0

    def get_query_offset(self, layer_idx: int = 0) -> Any:  # noqa: ARG002 - as above
        """The position of each row's first new token."""
        return self.offset


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer's store."""

    is_sliding = False  # the mask handles windows: every position is kept

    def __init__(self, cache: SlotCache) -> None:
        super().__init__()
        self.cache = cache

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        slots, capacity = self.cache.slots, self.cache.capacity
        # Zeros, because positions beyond a row's own are masked by adding -inf, and an uninitialised NaN would survive that.
        self.keys = key_states.new_zeros((slots, key_states.shape[1], capacity, key_states.shape[3]))
        self.values = value_states.new_zeros((slots, value_states.shape[1], capacity, value_states.shape[3]))
        self.flat_keys = self.keys.view(-1, self.keys.shape[3])
        self.flat_values = self.values.view(-1, self.values.shape[3])
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        cache = self.cache
        rows = slice(cache.first, cache.first + cache.rows)
        keys = self.keys[rows, :, : cache.reach]
        values = self.values[rows, :, : cache.reach]
        index = cache.flat_index(key_states.shape[1])
        if index is None:
            keys[:, :, cache.offset :] = key_states
            values[:, :, cache.offset :] = value_states
        else:
            self.flat_keys.index_copy_(0, index, key_states.reshape(-1, key_states.shape[3]))
            self.flat_values.index_copy_(0, index, value_states.reshape(-1, value_states.shape[3]))
        return keys, values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cache.get_mask_sizes(query_length, 0)

    def get_seq_length(self) -> int:
        return 0  # rows differ; callers pass positions

    def get_max_length(self) -> int:
        return self.cache.capacity


def slot_attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attention for one new token a row without repeating the keys and values of shared heads; else transformers' own.

    `query` is `[rows, heads, 1, head_dim]`. The heads that share a key head become the query positions of that head,
    which is the same sum and reads each key once: twice as fast on a CPU as repeating them.
    """
    rows, heads, length, _ = query.shape
    kv_heads = key.shape[1]
    if length > 1 or heads == kv_heads or options.get("position_bias") is not None:
        output: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return output
    grouped = query.reshape(rows, kv_heads, heads // kv_heads, -1)
    found = scaled_dot_product_attention(grouped, key, value, attn_mask=attention_mask, scale=options.get("scaling"))
    return found.reshape(rows, 1, heads, -1), None


def slot_mask(
    *,
    q_length: int,
    kv_length: int,
    q_offset: int | Tensor,
    mask_function: Callable[..., Tensor],
    dtype: torch.dtype,
    device: torch.device,
    local_size: int | None = None,
    allow_is_causal_skip: bool = True,
    **_: Any,
) -> Tensor | None:
    """The additive mask `[rows, 1, q_length, kv_length]`, or None where plain causal attention needs none.

    `mask_function(batch, head, query position, key position)` is the model's own rule, sliding windows included;
    transformers calls this with keyword arguments (`AttentionMaskInterface`).
    """
    whole = isinstance(q_offset, int) and (q_length == 1 or q_offset == 0) and q_offset + q_length == kv_length
    if whole and allow_is_causal_skip and (local_size is None or kv_length <= local_size):
        return None
    starts = torch.as_tensor(q_offset, device=device).view(-1, 1, 1, 1)
    queries = starts + torch.arange(q_length, device=device).view(1, 1, -1, 1)
    positions = torch.arange(kv_length, device=device).view(1, 1, 1, -1)
    zero = torch.zeros((), dtype=torch.long, device=device)
    allowed = mask_function(zero, zero, queries, positions)
    return torch.zeros(allowed.shape, dtype=dtype, device=device).masked_fill_(~allowed, float("-inf"))


AttentionInterface.register(ATTENTION, slot_attention)
AttentionMaskInterface.register(ATTENTION, slot_mask)
