"""Third look: what was written is read back and held against the source before it gets its final name."""

from __future__ import annotations

import json
from itertools import zip_longest
from pathlib import Path

import numpy as np

from pruner.checkpoint.anatomy import find_mlps
from pruner.checkpoint.folder import INDEX, open_checkpoint
from pruner.checkpoint.tensors import Tensor, byte_blocks, opened, row_blocks
from pruner.errors import PruneError
from pruner.output.layout import Output
from pruner.output.writing import Choose, gather
from pruner.scoring.scoring import Advance

_SAMPLED_ROWS = 16


def verified_bytes(output: Output) -> int:
    """Bytes of tensors that `verify` compares in full."""
    cuts = output.anatomy.cuts
    return sum(tensor.nbytes for tensor in output.tensors if tensor.name not in cuts)


def verify(folder: Path, output: Output, choose: Choose, advance: Advance) -> None:
    """Shapes must be what the new config says, tensors outside of the MLPs identical, sampled rows of cut ones as chosen.

    Raises:
        PruneError: they are not: the disk or the pruner is at fault; the folder must not be used.

    """
    written = open_checkpoint(folder)  # headers and index agree with the files
    if find_mlps(written).widths != output.widths:  # and every MLP's shape with config.json
        raise PruneError(f"{folder.name}: config.json does not give the widths {output.widths}")
    if written.index is not None and json.loads(output.index_json() or b"") != written.index:
        raise PruneError(f"{folder.name}: {INDEX} is not as planned")
    for shard, twin in zip(output.checkpoint.shards, written.shards, strict=True):
        copies = {tensor.name: tensor for tensor in twin.tensors}
        with opened(shard.path) as source, opened(twin.path) as target:
            for tensor in shard.tensors:
                copy = copies[tensor.name]
                if tensor.name in output.anatomy.cuts:
                    same = _samples_agree((source, tensor), (target, copy), output, choose)
                else:
                    blocks = zip_longest(byte_blocks(source, tensor), byte_blocks(target, copy))
                    same = all(a == b for a, b in blocks)
                    advance(tensor.nbytes)
                if not same:
                    raise PruneError(
                        f"{folder.name}: {tensor.name} does not read back as it was written; check the disk"
                    )


def _samples_agree(before: tuple[int, Tensor], after: tuple[int, Tensor], output: Output, choose: Choose) -> bool:
    """Compare rows spread over the written tensor, first and last among them, with what they were in the source."""
    cut = output.anatomy.cuts[before[1].name]
    kept = choose(cut, output)
    rows = np.linspace(0, after[1].shape[0] - 1, _SAMPLED_ROWS, dtype=np.int64)
    for row in np.unique(rows).tolist():
        origin = int(kept[row]) if cut.axis == 0 else row
        ((_, expected),) = row_blocks(*before, origin, origin + 1)
        ((_, found),) = row_blocks(*after, row, row + 1)
        if cut.axis == 1:
            expected = gather(expected, 0, 1, kept)
        if expected.tobytes() != found.tobytes():
            return False
    return True
