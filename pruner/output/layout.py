"""The layout of a prune: its output files, decided from headers alone before a byte is written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pruner.checkpoint.anatomy import Anatomy
from pruner.checkpoint.folder import Checkpoint
from pruner.checkpoint.tensors import Shard, Tensor, encode_header
from pruner.errors import PruneError
from pruner.scoring.targets import Target


@dataclass(frozen=True)
class Layout:
    """The files of one narrower checkpoint. `widths` maps config keys to widths, in the order of `Anatomy.widths`."""

    checkpoint: Checkpoint
    anatomy: Anatomy
    targets: tuple[Target, ...]  # all that give these widths
    widths: dict[str, int]
    prefix: str = ""  # of its recipe: `Recipe.prefix`

    @property
    def width(self) -> int:
        """The main width, which names the folder."""
        return next(iter(self.widths.values()))

    @property
    def name(self) -> str:
        """Name of the folder."""
        return f"{self.prefix}width-{self.width}"

    def narrowed(self, tensor: Tensor) -> Tensor:
        """The tensor in its new shape; `start` is still its offset in the source."""
        cut = self.anatomy.cuts.get(tensor.name)
        return tensor if cut is None else replace(tensor, shape=cut.shape(tensor, self.widths[cut.mlp.key]))

    @cached_property
    def tensors(self) -> list[Tensor]:
        """Every tensor in its new shape."""
        return [self.narrowed(tensor) for _, tensor in self.checkpoint.tensors.values()]

    def header(self, shard: Shard) -> bytes:
        """Header of the narrower shard."""
        return encode_header(shard.metadata, [self.narrowed(tensor) for tensor in writing_order(shard)])

    @cached_property
    def shard_sizes(self) -> dict[str, int]:
        """Shard name -> bytes of its file, header included."""
        return {
            shard.name: len(self.header(shard)) + sum(self.narrowed(tensor).nbytes for tensor in shard.tensors)
            for shard in self.checkpoint.shards
        }

    @property
    def parameters(self) -> int:
        """Elements of all stored tensors."""
        return sum(tensor.parameters for tensor in self.tensors)

    def config_json(self) -> bytes:
        """The source's config.json with new widths; raw JSON, so that keys unknown to any library survive."""
        config: dict[str, Any] = json.loads(json.dumps(self.checkpoint.config))
        text = config
        for part in self.checkpoint.section:
            text = text[part]
        text.update(self.widths)
        return _pretty(config)

    def index_json(self) -> bytes | None:
        """The source's index with new totals; None for a checkpoint of one file without an index."""
        if self.checkpoint.index is None:
            return None
        index = json.loads(json.dumps(self.checkpoint.index))
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
    multiple_of: int = 1,
    tensor_parallel: int = 1,
    prefixes: Sequence[str] = ("",),
) -> list[Layout]:
    """One layout per distinct width and prefix, in the order in which the targets first give the width.

    Raises:
        PruneError: a target is out of range or ambiguous, or `tensor_parallel` does not divide its width.

    """
    by_widths: dict[tuple[int, ...], list[Target]] = {}
    for target in targets:
        by_widths.setdefault(_widths(target, anatomy, multiple_of), []).append(target)
    layouts = [
        Layout(checkpoint, anatomy, tuple(same), dict(zip(anatomy.widths, widths, strict=True)))
        for widths, same in by_widths.items()
    ]
    for layout in layouts:
        for key, width in layout.widths.items():
            if width % tensor_parallel:
                raise PruneError(
                    f"{layout.targets[0].flag}: gives {key} {width}, which {tensor_parallel} GPUs cannot share; "
                    f"use --multiple-of {tensor_parallel}"
                )
    names = [layout.name for layout in layouts]
    if twice := next((layout for layout in layouts if names.count(layout.name) > 1), None):
        raise PruneError(
            f"{twice.targets[0].flag}: another target gives the same main width {twice.width} but other widths"
        )
    return [replace(layout, prefix=prefix) for layout in layouts for prefix in prefixes]


def _widths(target: Target, anatomy: Anatomy, multiple_of: int) -> tuple[int, ...]:
    if len(anatomy.widths) > 1 and target.kind != "percentage":
        keys = ", ".join(f"{key} {width}" for key, width in anatomy.widths.items())
        raise PruneError(f"{target.flag}: this checkpoint has several widths ({keys}); use --pruning-percentage")
    return tuple(target.width(width, anatomy.hidden, multiple_of) for width in anatomy.widths.values())
