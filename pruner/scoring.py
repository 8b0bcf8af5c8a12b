"""First pass: gate and up are read once, in row blocks, for one score a neuron."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import numpy as np

from pruner.anatomy import Anatomy, Mlp, RowSpan
from pruner.checkpoint import Checkpoint
from pruner.criteria import Floats, combine, random_scores, row_figures
from pruner.errors import PruneError
from pruner.manifest import Criterion
from pruner.tensors import opened, row_blocks, to_float32

Advance = Callable[[int], None]  # is told how many more bytes are done


def scoring_bytes(checkpoint: Checkpoint, anatomy: Anatomy, criterion: Criterion) -> int:
    """Bytes that `score_neurons` reads."""
    if criterion == "random":
        return 0
    spans = {span.tensor for mlp in anatomy.mlps for span in (mlp.gate, mlp.up)}
    return sum(checkpoint.tensors[name][1].nbytes for name in spans)


def score_neurons(
    checkpoint: Checkpoint, anatomy: Anatomy, criterion: Criterion, seed: int, advance: Advance
) -> dict[str, Floats]:
    """MLP prefix -> scores [neurons]: 4 bytes a neuron are all that is kept.

    Raises:
        PruneError: a scored weight is NaN or infinite, or a score overflows; the message names tensor and row.

    """
    if criterion == "random":
        return {mlp.prefix: random_scores(mlp.neurons, seed, mlp.prefix) for mlp in anatomy.mlps}
    with ExitStack() as files:
        descriptors = {shard.name: files.enter_context(opened(shard.path)) for shard in checkpoint.shards}

        def figures(mlp: Mlp, span: RowSpan) -> Floats:
            shard, tensor = checkpoint.tensors[span.tensor]
            blocks = row_blocks(descriptors[shard.name], tensor, span.first, span.first + mlp.neurons)
            parts = []
            for row, block in blocks:
                values = to_float32(block)
                part = row_figures(criterion, values)
                if not np.isfinite(part).all():
                    bad = int(np.flatnonzero(~np.isfinite(part))[0])
                    raise PruneError(f"{tensor.name}: row {row + bad} {_what_is_wrong(values[bad], criterion)}")
                parts.append(part)
                advance(block.nbytes)
            return np.concatenate(parts)

        return {
            mlp.prefix: _score(mlp, criterion, figures(mlp, mlp.gate), figures(mlp, mlp.up)) for mlp in anatomy.mlps
        }


def _score(mlp: Mlp, criterion: Criterion, gate: Floats, up: Floats) -> Floats:
    scores = combine(criterion, gate, up)
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise PruneError(f"{mlp.prefix}: the {criterion} score of row {row} overflows float32; use --criterion maw")
    return scores


def _what_is_wrong(row: Floats, criterion: Criterion) -> str:
    if np.isnan(row).any():
        return "holds NaN; the checkpoint is damaged"
    if np.isinf(row).any():
        return "holds infinity; the checkpoint is damaged"
    return f"is too large for the {criterion} criterion in float32; use another --criterion"
