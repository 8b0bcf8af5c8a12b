"""The GLU MLPs of a checkpoint, recognised by names and shapes on disk, and the config keys that hold their widths."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pruner.checkpoint.folder import CONFIG, Checkpoint
from pruner.checkpoint.layers import COUNT, LAYER, OTHER_TOWERS
from pruner.checkpoint.tensors import SCORABLE, Tensor
from pruner.errors import PruneError


@dataclass(frozen=True)
class RowSpan:
    """`neurons` consecutive rows of a matrix, one a neuron."""

    tensor: str
    first: int


@dataclass(frozen=True)
class Mlp:
    """One GLU MLP. It has `factor` times its config key's width of neurons (shared experts count several times)."""

    prefix: str
    key: str
    factor: int
    neurons: int
    gate: RowSpan
    up: RowSpan


@dataclass(frozen=True)
class Cut:
    """How a tensor narrows: along `axis`, over the neurons of one MLP, repeated `repeats` times (2 in a fused gate_up)."""

    mlp: Mlp
    axis: int
    repeats: int

    def shape(self, tensor: Tensor, width: int) -> tuple[int, ...]:
        """The tensor's shape once the config key's width is `width`."""
        kept = self.repeats * self.mlp.factor * width
        return (kept, *tensor.shape[1:]) if self.axis == 0 else (tensor.shape[0], kept)


@dataclass(frozen=True)
class Anatomy:
    """The MLPs of a checkpoint. `widths` maps config keys to widths, the key with the most parameters first."""

    hidden: int
    layers: int
    widths: dict[str, int]
    mlps: tuple[Mlp, ...]
    cuts: Mapping[str, Cut]

    @cached_property
    def downs(self) -> dict[str, str]:
        """MLP prefix -> name of its down projection's weight."""
        return {cut.mlp.prefix: name for name, cut in self.cuts.items() if cut.axis == 1}

    @property
    def width(self) -> int:
        """The main width: that of the key with the most MLP parameters."""
        return next(iter(self.widths.values()))


@dataclass(frozen=True)
class _Spelling:
    gate: str
    up: str
    down: str
    where: str  # regular expression; only prefixes that it finds use this spelling

    @property
    def parts(self) -> set[str]:
        return {self.gate, self.up, self.down}


_SPELLINGS = (
    _Spelling("gate_proj", "up_proj", "down_proj", ""),
    _Spelling("gate_up_proj", "gate_up_proj", "down_proj", ""),  # Phi-3, GLM-4: gate first
    _Spelling("w1", "w3", "w2", r"\.experts\.\d+$"),  # Mixtral
    _Spelling("input_linear", "input_linear", "output_linear", r"\.shared_mlp$"),  # Granite 4
)
_PART = re.compile(
    r"(?P<prefix>.+)\.(?P<part>gate_proj|up_proj|down_proj|gate_up_proj|w[123]|input_linear|output_linear)"
    r"\.(?P<kind>weight|bias)"
)
# Experts stacked into one tensor: gpt-oss (interleaved), Llama 4 (transposed), Granite MoE.
_STACKED = re.compile(r"\.experts\.(gate_up_proj|gate_proj|up_proj|down_proj)\w*$|block_sparse_moe\.input_linear\.")
_ROLES = (  # where in a layer, config keys in order of preference, config key of the factor
    (r"\.experts\.\d+$", ("moe_intermediate_size", "intermediate_size"), None),
    (r"\.shared_expert$", ("shared_expert_intermediate_size",), None),
    (r"\.shared_experts$", ("moe_intermediate_size",), "n_shared_experts"),  # DeepSeek, GLM-4.5
    (r"\.shared_mlp$", ("shared_intermediate_size",), None),
    (r"(^|\.)layers\.\d+\.(mlp|feed_forward)$", ("intermediate_size",), None),
)


def find_mlps(checkpoint: Checkpoint) -> Anatomy:
    """Every GLU MLP of the language model, checked against config.json.

    Raises:
        PruneError: not GLU, quantized, per-layer widths, experts in one tensor, or shapes that contradict the config.

    """
    _refuse_quantized(checkpoint)
    text = checkpoint.text_config
    if isinstance(text.get("intermediate_size"), list):
        raise PruneError(f"{CONFIG}: intermediate_size is a list; layers of different widths are not supported")
    tensors = {n: t for n, (_, t) in checkpoint.tensors.items() if not OTHER_TOWERS.search(n)}
    groups = _grouped(tensors)
    if not groups:
        raise PruneError(f"{CONFIG}: model_type {text.get('model_type')} has no gate, up and down projections to prune")
    hidden, layers = _size(text, "hidden_size"), _size(text, COUNT)
    cuts: dict[str, Cut] = {}
    mlps = []
    for prefix, parts in groups.items():
        mlp, mlp_cuts = _recognise(prefix, parts, text, hidden)
        mlps.append(mlp)
        cuts |= mlp_cuts
    _check_complete(tensors, mlps, layers)
    return Anatomy(hidden, layers, _widths(mlps), tuple(mlps), cuts)


def _refuse_quantized(checkpoint: Checkpoint) -> None:
    for config in (checkpoint.config, checkpoint.text_config):
        for key in ("quantization_config", "compression_config"):
            if config.get(key) is not None:
                raise PruneError(f"{CONFIG}: {key} says the weights are quantized; prune the unquantized checkpoint")


def _size(config: dict[str, Any], key: str) -> int:
    value = config.get(key)
    if type(value) is not int or value < 1:
        raise PruneError(f"{CONFIG}: {key} must be a positive whole number, not {value!r}")
    return value


def _grouped(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Prefix of an MLP -> its tensors by "part.kind", in the order of the layers."""
    groups: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        if _STACKED.search(name):
            raise PruneError(f"{name}: holds all experts of a layer in one tensor, which is not supported")
        if match := _PART.fullmatch(name):
            groups[match["prefix"]][f"{match['part']}.{match['kind']}"] = tensor
    return dict(sorted(groups.items(), key=lambda group: _natural(group[0])))


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts layer 10 after layer 9."""
    return [(int(part), "") if re.fullmatch("[0-9]{1,6}", part) else (-1, part) for part in name.split(".")]


def _recognise(prefix: str, parts: dict[str, Tensor], text: dict[str, Any], hidden: int) -> tuple[Mlp, dict[str, Cut]]:
    names = {part.split(".")[0] for part in parts}
    spelling = next((s for s in _SPELLINGS if s.parts == names and re.search(s.where, prefix)), None)
    if spelling is None or any(f"{part}.weight" not in parts for part in spelling.parts):
        if names <= {"w1", "w2", "w3"} and ".experts." not in prefix:
            raise PruneError(
                f"{prefix}: w1, w2, w3 outside of experts (as in LFM2), whose width the config does not give"
            )
        raise PruneError(f"{prefix}: has {', '.join(sorted(names))} and no GLU's gate, up and down projections")
    key, factor = _key_of(prefix, text)
    fused = spelling.gate == spelling.up
    neurons = factor * _size(text, key)
    gate, up = parts[f"{spelling.gate}.weight"], parts[f"{spelling.up}.weight"]
    mlp = Mlp(prefix, key, factor, neurons, RowSpan(gate.name, 0), RowSpan(up.name, neurons if fused else 0))
    rows, columns = Cut(mlp, axis=0, repeats=2 if fused else 1), Cut(mlp, axis=1, repeats=1)
    cuts = {parts[f"{spelling.down}.weight"].name: columns}
    cuts |= {tensor.name: rows for part, tensor in parts.items() if not part.startswith(f"{spelling.down}.")}
    for part, tensor in parts.items():
        _check_tensor(
            tensor, _expected_shape(part, spelling, mlp, hidden), f"{key} {_size(text, key)}, hidden_size {hidden}"
        )
    return mlp, cuts


def _key_of(prefix: str, text: dict[str, Any]) -> tuple[str, int]:
    for pattern, keys, factor_key in _ROLES:
        if re.search(pattern, prefix):
            key = next((key for key in keys if text.get(key) is not None), keys[-1])
            return key, _size(text, factor_key) if factor_key else 1
    raise PruneError(f"{prefix}: a GLU MLP at an unknown place; no config key is known for its width")


def _expected_shape(part: str, spelling: _Spelling, mlp: Mlp, hidden: int) -> tuple[int, ...]:
    name, kind = part.split(".")
    rows, columns = (hidden, mlp.neurons) if name == spelling.down else (mlp.neurons, hidden)
    if spelling.gate == spelling.up == name:
        rows *= 2
    return (rows, columns) if kind == "weight" else (rows,)


def _check_tensor(tensor: Tensor, expected: tuple[int, ...], because: str) -> None:
    if tensor.dtype not in SCORABLE:
        raise PruneError(f"{tensor.name}: is {tensor.dtype}; only BF16, F16 and F32 weights can be pruned")
    if tensor.shape != expected:
        raise PruneError(f"{tensor.name}: is {list(tensor.shape)}, {CONFIG} ({because}) requires {list(expected)}")


def _check_complete(tensors: dict[str, Tensor], mlps: list[Mlp], layers: int) -> None:
    found = {int(match[1]) for mlp in mlps if (match := LAYER.search(f"{mlp.prefix}."))}
    missing = next((layer for layer in range(layers) if layer not in found), None)
    if missing is not None:
        raise PruneError(f"{CONFIG}: num_hidden_layers is {layers}, but layer {missing} has no GLU MLP")
    known = {mlp.prefix for mlp in mlps}
    for name in tensors:
        prefix, _, rest = name.rpartition(".")
        while prefix:  # a scale, an adapter or a norm inside an MLP would keep the old width
            if prefix in known and not _PART.fullmatch(name):
                raise PruneError(f"{name}: a tensor inside an MLP ({rest}) that the pruner does not know how to narrow")
            prefix = prefix.rpartition(".")[0]


def _widths(mlps: list[Mlp]) -> dict[str, int]:
    """Config key -> width, the key with the most neurons first (all have rows of the same length)."""
    neurons: dict[str, int] = defaultdict(int)
    widths: dict[str, int] = {}
    for mlp in mlps:
        neurons[mlp.key] += mlp.neurons
        widths[mlp.key] = mlp.neurons // mlp.factor
    return {key: widths[key] for key in sorted(neurons, key=lambda key: -neurons[key])}
