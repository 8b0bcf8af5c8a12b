"""The widths, sizes and alignment that each target would give, from headers alone; nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from base.records import Record
from pruner.checkpoint.anatomy import find_mlps
from pruner.checkpoint.folder import open_checkpoint
from pruner.errors import disk_errors
from pruner.output.layout import Layout, lay_out
from pruner.scoring.targets import Target

ALIGNMENTS = (8, 16, 64, 128)  # 16-byte rows in bf16, A100-class tiles, FP8 blocks
_GPU_COUNTS = (1, 2, 4, 8)


class TargetRow(Record):
    """One target and the checkpoint that it would give."""

    target: str  # as given: "percentage 10"
    name: str  # of the folder, if there is one recipe
    width: int
    widths: dict[str, int]  # by config key; more than one in mixture-of-experts checkpoints
    layers: int
    expansion_ratio: float
    pruning_percentage: float  # removed share of the width
    parameters: int  # where layers differ in size and some are removed, at most
    bytes: int  # of the safetensors files
    memory_saved: int  # bytes of weights that are not loaded any more; the KV cache does not depend on the width
    aligned_to: list[int]  # of 8, 16, 64 and 128, those that divide every width
    tensor_parallel: list[int]  # of 1, 2, 4 and 8 GPUs, the numbers that divide every width


class Inspection(Record):
    """A checkpoint that can be pruned, and what its targets give."""

    family: str  # config.json's model_type of the language model
    hidden_size: int
    width: int
    widths: dict[str, int]  # by config key
    layers: int
    mlps: int  # more than layers where there are experts
    parameters: int  # elements stored: a tied embedding counts once
    bytes: int  # of the safetensors files
    targets: list[TargetRow]


def inspect_checkpoint(
    source: Path, targets: Sequence[Target], *, remove_layers: Sequence[int] = (), multiple_of: int = 1
) -> Inspection:
    """Read config and headers of `source`, and work out what each target would give with each number of layers removed.

    Raises:
        PruneError: the checkpoint cannot be pruned or a target is out of range.

    """
    with disk_errors(source):
        checkpoint = open_checkpoint(source)
    anatomy = find_mlps(checkpoint)
    rows = []
    for target in [[target] for target in targets] or [[]]:
        layouts = lay_out(checkpoint, anatomy, target, remove_layers=remove_layers, multiple_of=multiple_of)
        rows += [_row(layout) for layout in layouts]
    return Inspection(
        family=str(checkpoint.text_config.get("model_type", "unknown")),
        hidden_size=anatomy.hidden,
        width=anatomy.width,
        widths=anatomy.widths,
        layers=anatomy.layers,
        mlps=len(anatomy.mlps),
        parameters=checkpoint.parameters,
        bytes=sum(shard.size for shard in checkpoint.shards),
        targets=rows,
    )


def _row(layout: Layout) -> TargetRow:
    widths = layout.widths.values()
    return TargetRow(
        target=layout.target,
        name=layout.name,
        width=layout.width,
        widths=layout.widths,
        layers=layout.layers,
        expansion_ratio=layout.width / layout.anatomy.hidden,
        pruning_percentage=100 * (1 - layout.width / layout.anatomy.width),
        parameters=layout.parameters,
        bytes=sum(layout.shard_sizes.values()),
        memory_saved=sum(t.nbytes for _, t in layout.checkpoint.tensors.values())
        - sum(t.nbytes for t in layout.tensors),
        aligned_to=[n for n in ALIGNMENTS if all(width % n == 0 for width in widths)],
        tensor_parallel=[n for n in _GPU_COUNTS if all(width % n == 0 for width in widths)],
    )
