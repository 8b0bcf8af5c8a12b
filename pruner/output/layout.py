"""The layout of a prune: its output files, decided from headers alone before a byte is written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from pruner.checkpoint.anatomy import Anatomy, Mlp
from pruner.checkpoint.folder import Checkpoint
from pruner.checkpoint.layers import layer_of, renamed, without_layers
from pruner.checkpoint.tensors import Shard, Tensor, encode_header
from pruner.errors import PruneError
from pruner.scoring.targets import Target


@dataclass(frozen=True)
class Layout:
    """The files of one smaller checkpoint. `widths` maps config keys to widths, in the order of `Anatomy.widths`."""

    checkpoint: Checkpoint
    anatomy: Anatomy
    targets: tuple[Target, ...]  # all that give these widths
    widths: dict[str, int]
    prefix: str = ""  # of its recipe: `Recipe.prefix`
    removed: tuple[int, ...] = ()  # layers, ascending; until they are chosen, as many of the smallest
    per_layer: Mapping[str, list[Any]] = field(
        default_factory=dict
    )  # as `pruner.checkpoint.layers.without_layers` takes it

    @property
    def width(self) -> int:
        """The main width, which names the folder."""
        return next(iter(self.widths.values()))

    @property
    def name(self) -> str:
        """Name of the folder: the width, unless layers alone are removed, and the layers that stay, if any is."""
        width = [f"{self.prefix}width-{self.width}"] if self.narrower or not self.removed else []
        return "-".join([*width, *([f"layers-{self.layers}"] if self.removed else [])])

    @property
    def target(self) -> str:
        """The targets as they were given, in words."""
        gone = [f"remove {len(self.removed)} layer{'s' * (len(self.removed) > 1)}"] if self.removed else []
        return ", ".join([*map(str, self.targets), *gone])

    @property
    def narrower(self) -> bool:
        """Whether a width is cut."""
        return self.widths != self.anatomy.widths

    @property
    def layers(self) -> int:
        """Layers that stay."""
        return self.anatomy.layers - len(self.removed)

    @property
    def mlps(self) -> list[Mlp]:
        """The source's MLPs in layers that stay."""
        return [mlp for mlp in self.anatomy.mlps if renamed(f"{mlp.prefix}.", self.removed)]

    def kept(self, shard: Shard) -> list[Tensor]:
        """The source's tensors that stay, in the order in which they are written."""
        return [tensor for tensor in writing_order(shard) if renamed(tensor.name, self.removed)]

    @property
    def shards(self) -> list[Shard]:
        """The source's files that keep a tensor."""
        return [shard for shard in self.checkpoint.shards if self.kept(shard)]

    def made(self, tensor: Tensor) -> Tensor:
        """A tensor that stays, in its new shape and by its new name; `start` is still its offset in the source."""
        cut = self.anatomy.cuts.get(tensor.name)
        shape = tensor.shape if cut is None else cut.shape(tensor, self.widths[cut.mlp.key])
        return replace(tensor, name=renamed(tensor.name, self.removed) or "", shape=shape)

    @cached_property
    def tensors(self) -> list[Tensor]:
        """Every tensor that stays, as `made`."""
        return [self.made(tensor) for shard in self.checkpoint.shards for tensor in self.kept(shard)]

    def header(self, shard: Shard) -> bytes:
        """Header of the smaller shard."""
        return encode_header(shard.metadata, map(self.made, self.kept(shard)))

    @cached_property
    def shard_sizes(self) -> dict[str, int]:
        """Shard name -> bytes of its file, header included."""
        return {
            shard.name: len(self.header(shard)) + sum(self.made(tensor).nbytes for tensor in self.kept(shard))
            for shard in self.shards
        }

    @property
    def parameters(self) -> int:
        """Elements of all stored tensors."""
        return sum(tensor.parameters for tensor in self.tensors)

    def config_json(self) -> bytes:
        """The source's config.json with new widths and layers; raw JSON, so that keys unknown to any library survive."""
        config: dict[str, Any] = json.loads(json.dumps(self.checkpoint.config))
        made = without_layers(self.checkpoint.text_config, self.removed, self.per_layer) | self.widths
        if not self.checkpoint.section:
            return _pretty(made)
        parent = config
        for part in self.checkpoint.section[:-1]:
            parent = parent[part]
        parent[self.checkpoint.section[-1]] = made
        return _pretty(config)

    def index_json(self) -> bytes | None:
        """The source's index with new totals; None for a checkpoint of one file without an index."""
        if self.checkpoint.index is None:
            return None
        index = json.loads(json.dumps(self.checkpoint.index))
        new_names = ((renamed(name, self.removed), file) for name, file in index["weight_map"].items())
        index["weight_map"] = {name: file for name, file in new_names if name}
        if isinstance(index.get("metadata"), dict):
            index["metadata"]["total_size"] = sum(tensor.nbytes for tensor in self.tensors)
            if "total_parameters" in index["metadata"]:
                index["metadata"]["total_parameters"] = self.parameters
        return _pretty(index)


def _pretty(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def writing_order(shard: Shard) -> list[Tensor]:
    """Source order, wider elements first, as safetensors writes: then an odd width misaligns no later tensor."""
    return sorted(shard.tensors, key=lambda tensor: -tensor.element_bytes)


def lay_out(
    checkpoint: Checkpoint,
    anatomy: Anatomy,
    targets: Sequence[Target],
    *,
    remove_layers: Sequence[int] = (),
    multiple_of: int = 1,
    tensor_parallel: int = 1,
    prefixes: Sequence[str] = ("",),
) -> list[Layout]:
    """One layout per distinct width, number of layers to remove and prefix, in the order in which the targets give the width.

    Without targets the width stays, without `remove_layers` all layers do. What keeps its width has the first prefix alone.

    Raises:
        PruneError: a target is out of range or ambiguous, or `tensor_parallel` does not divide its width.

    """
    counts = list(dict.fromkeys(remove_layers)) or [0]
    for count in counts:
        if not 0 <= count < anatomy.layers:
            raise PruneError(f"--remove-layers {count}: must be from 0 to {anatomy.layers - 1} in this checkpoint")
    by_widths: dict[tuple[int, ...], list[Target]] = {}
    for target in targets:
        by_widths.setdefault(_widths(target, anatomy, multiple_of), []).append(target)
    if not targets and any(counts):
        by_widths[tuple(anatomy.widths.values())] = []
    layouts = [
        Layout(checkpoint, anatomy, tuple(same), dict(zip(anatomy.widths, widths, strict=True)))
        for widths, same in by_widths.items()
    ]
    for layout in layouts:
        for key, width in layout.widths.items():
            if width % tensor_parallel:
                raise PruneError(
                    f"{layout.targets[0].flag if layout.targets else '--tensor-parallel'}: gives {key} {width}, which {tensor_parallel} GPUs cannot share; "
                    f"use --multiple-of {tensor_parallel}"
                )
    names = [layout.name for layout in layouts]
    if twice := next((layout for layout in layouts if names.count(layout.name) > 1), None):
        raise PruneError(
            f"{twice.targets[0].flag}: another target gives the same main width {twice.width} but other widths"
        )
    smallest = _smallest_layers(checkpoint, anatomy.layers)
    made = [
        replace(layout, prefix=prefix, removed=tuple(sorted(smallest[:count])))
        for layout in layouts
        for count in counts
        for prefix in (prefixes if layout.narrower else prefixes[:1])
    ]
    for layout in made:
        without_layers(checkpoint.text_config, layout.removed, {})  # refuse now what it would refuse later
    return made


def _smallest_layers(checkpoint: Checkpoint, layers: int) -> list[int]:
    """All layers, those with the least bytes first."""
    sizes = dict.fromkeys(range(layers), 0)
    for name, (_, tensor) in checkpoint.tensors.items():
        if (layer := layer_of(name)) in sizes:
            sizes[layer] += tensor.nbytes
    return sorted(sizes, key=sizes.__getitem__)


def _widths(target: Target, anatomy: Anatomy, multiple_of: int) -> tuple[int, ...]:
    if len(anatomy.widths) > 1 and target.kind != "percentage":
        keys = ", ".join(f"{key} {width}" for key, width in anatomy.widths.items())
        raise PruneError(f"{target.flag}: this checkpoint has several widths ({keys}); use --pruning-percentage")
    return tuple(target.width(width, anatomy.hidden, multiple_of) for width in anatomy.widths.values())
