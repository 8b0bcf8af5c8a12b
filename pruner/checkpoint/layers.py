"""Whole layers taken out of a checkpoint: the new names of its tensors, and the config keys that follow."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pruner.checkpoint.folder import CONFIG
from pruner.errors import PruneError

OTHER_TOWERS = re.compile(r"(^|\.)(vision|visual|audio|speech|image)\w*\.|projector|merger")
LAYER = re.compile(r"(?:^|\.)layers\.([0-9]{1,6})\.")
COUNT = "num_hidden_layers"
# Keys of the language model's config. What transformers works out for the first, where config.json lacks them, counts too.
PER_LAYER = ("layer_types", "mlp_layer_types", "layers_block_type", "no_rope_layers")  # an entry a layer
_OF_LAYERS = ("mlp_only_layers",)  # places of layers
_FIRST_LAYERS = ("first_k_dense_replace", "max_window_layers")  # as many from the front
_STEP, _DENSE = "decoder_sparse_step", "mlp_only_layers"  # every n-th layer has experts, but for these
_PERIODS = re.compile(r"(interleave_moe|moe|expert)_layer_(freq|interval|step|period|offset|start_index|end_index)")
_NOT_PER_LAYER = re.compile(r".*_token_ids?|architectures|time_step_\w+|rope_\w+|" + "|".join(_OF_LAYERS))


def layer_of(tensor: str) -> int | None:
    """The decoder layer that a tensor belongs to; None outside of them."""
    place = LAYER.search(tensor)
    return int(place[1]) if place and not OTHER_TOWERS.search(tensor) else None


def renamed(tensor: str, removed: Collection[int]) -> str | None:
    """The tensor's name once these layers are gone; None if it goes with one of them. Later layers move up."""
    layer = layer_of(tensor)
    if layer is None or not removed:
        return tensor
    if layer in removed:
        return None
    start, end = LAYER.search(tensor).span(1)  # type: ignore[union-attr]  # layer_of found it
    return f"{tensor[:start]}{_moved(layer, removed)}{tensor[end:]}"


def without_layers(config: Mapping[str, Any], removed: Collection[int], resolved: Mapping[str, list[Any]]) -> Any:
    """The language model's config without these layers; `resolved` has lists of PER_LAYER that transformers worked out.

    Raises PruneError for a key that may speak of layers in a way that is not known.
    """
    if not removed:
        return dict(config)
    layers = int(config[COUNT])
    made = dict(config)
    derived = {key: values for key, values in resolved.items() if key not in config and len(set(values)) > 1}
    for key, values in (derived | made).items():
        if isinstance(values, list) and len(values) == layers and not _NOT_PER_LAYER.fullmatch(key):
            if key not in PER_LAYER:
                raise PruneError(f"{CONFIG}: {key} seems to have an entry a layer; --remove-layers does not know it")
            made[key] = [value for layer, value in enumerate(values) if layer not in removed]
        elif _PERIODS.fullmatch(key) and values not in (None, 0, 1, -1):
            raise PruneError(f"{CONFIG}: {key} {values} counts layers; --remove-layers cannot keep it")
    step = config.get(_STEP) or 1
    if step > 1:
        dense = {layer for layer in range(layers) if (layer + 1) % step} | set(config.get(_DENSE) or ())
        made |= {_STEP: 1, _DENSE: sorted(dense)}
    for key in _OF_LAYERS:
        if made.get(key):
            made[key] = [_moved(layer, removed) for layer in made[key] if layer not in removed]
    for key in _FIRST_LAYERS:
        if made.get(key):
            made[key] = _moved(min(made[key], layers), removed)
    made[COUNT] = layers - len(removed)
    return made


def _moved(layer: int, removed: Iterable[int]) -> int:
    return layer - sum(gone < layer for gone in removed)
