"""Verify a written folder before it gets its final name: read it back and compare it with the source."""

from __future__ import annotations

import json
from itertools import zip_longest
from pathlib import Path

import numpy as np

from pruner.checkpoint.anatomy import find_mlps
from pruner.checkpoint.folder import INDEX, open_checkpoint
from pruner.checkpoint.tensors import Tensor, byte_blocks, opened, row_blocks
from pruner.errors import PruneError
from pruner.output.kept import Choose
from pruner.output.layout import Layout
from pruner.scoring.scoring import Advance

_SAMPLED_ROWS = 16


def verified_bytes(layout: Layout) -> int:
    """Bytes of tensors that `verify` compares in full."""
    cuts = layout.anatomy.cuts
    return sum(tensor.nbytes for shard in layout.shards for tensor in layout.kept(shard) if tensor.name not in cuts)


def verify(folder: Path, layout: Layout, choose: Choose, advance: Advance) -> None:
    """Check that shapes agree with the new config, uncut tensors are identical, and sampled rows of cut ones are as chosen.

    Raises:
        PruneError: a check failed. The disk or the pruner is at fault; the folder must not be used.

    """
    written = open_checkpoint(folder)  # headers and index agree with the files
    found = find_mlps(written)  # and every MLP's shape with config.json
    if not found.widths.items() <= layout.widths.items() or found.layers != layout.layers:
        raise PruneError(
            f"{folder.name}: config.json does not give the widths {layout.widths} and {layout.layers} layers"
        )
    if written.index is not None and json.loads(layout.index_json() or b"") != written.index:
        raise PruneError(f"{folder.name}: {INDEX} differs from the layout")
    for shard, twin in zip(layout.shards, written.shards, strict=True):
        copies = {tensor.name: tensor for tensor in twin.tensors}
        with opened(shard.path) as source, opened(twin.path) as target:
            for tensor in layout.kept(shard):
                copy = copies[layout.made(tensor).name]
                if tensor.name in layout.anatomy.cuts:
                    same = _samples_agree((source, tensor), (target, copy), layout, choose)
                else:
                    blocks = zip_longest(byte_blocks(source, tensor), byte_blocks(target, copy))
                    same = all(a == b for a, b in blocks)
                    advance(tensor.nbytes)
                if not same:
                    raise PruneError(
                        f"{folder.name}: {tensor.name} does not read back as it was written; check the disk"
                    )


def _samples_agree(before: tuple[int, Tensor], after: tuple[int, Tensor], layout: Layout, choose: Choose) -> bool:
    """Compare rows spread over the written tensor, first and last among them, with the same rows of the source, or its refit."""
    cut = layout.anatomy.cuts[before[1].name]
    kept = choose(cut, layout)
    rows = np.linspace(0, after[1].shape[0] - 1, _SAMPLED_ROWS, dtype=np.int64)
    for row in np.unique(rows).tolist():
        origin = int(kept.indices[row]) if cut.axis == 0 else row
        ((_, block),) = row_blocks(*before, origin, origin + 1)
        ((_, found),) = row_blocks(*after, row, row + 1)
        if kept.part(block, origin, before[1].dtype).tobytes() != found.tobytes():
            return False
    return True
