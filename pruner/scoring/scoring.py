"""First pass: gate and up are read once, in row blocks, for one score a neuron."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import numpy as np

from pruner.checkpoint.anatomy import Anatomy, Mlp, RowSpan
from pruner.checkpoint.folder import Checkpoint
from pruner.checkpoint.tensors import opened, row_blocks, to_float32
from pruner.errors import PruneError
from pruner.scoring.calibration import Norms
from pruner.scoring.criteria import Criterion, Floats, random_scores

Advance = Callable[[int], None]  # called with the number of bytes just done


def scoring_bytes(checkpoint: Checkpoint, anatomy: Anatomy, criterion: Criterion) -> int:
    """Bytes that `score_neurons` reads."""
    if criterion.row_figure is None:
        return 0
    spans = {span.tensor for mlp in anatomy.mlps for span in (mlp.gate, mlp.up)}
    return sum(checkpoint.tensors[name][1].nbytes for name in spans)


def score_neurons(
    checkpoint: Checkpoint,
    anatomy: Anatomy,
    criterion: Criterion,
    advance: Advance,
    *,
    seed: int = 0,
    norms: Norms | None = None,
) -> dict[str, Floats]:
    """MLP prefix -> scores [neurons], float32, all that is kept of a block of rows. Multiplied by `norms`, if given.

    Raises:
        PruneError: a scored weight is NaN or infinite, or a score overflows; the message names tensor and row. Or the norms
            of an MLP are not [neurons] finite figures, or all 0: no token of the text reached that expert.

    """
    row_figure = criterion.row_figure
    if row_figure is None:
        return {mlp.prefix: random_scores(mlp.neurons, seed, mlp.prefix) for mlp in anatomy.mlps}
    with ExitStack() as files:
        descriptors = {shard.name: files.enter_context(opened(shard.path)) for shard in checkpoint.shards}

        def figures(mlp: Mlp, span: RowSpan) -> Floats:
            shard, tensor = checkpoint.tensors[span.tensor]
            blocks = row_blocks(descriptors[shard.name], tensor, span.first, span.first + mlp.neurons)
            parts = []
            for row, block in blocks:
                values = to_float32(block)
                with np.errstate(all="ignore"):  # what is not finite is found next, and its row is named
                    part = row_figure(values)
                if not np.isfinite(part).all():
                    bad = int(np.flatnonzero(~np.isfinite(part))[0])
                    raise PruneError(f"{tensor.name}: row {row + bad} {_what_is_wrong(values[bad], criterion)}")
                parts.append(part)
                advance(block.nbytes)
            return np.concatenate(parts)

        scores = {}
        for mlp in anatomy.mlps:
            gate, up = figures(mlp, mlp.gate), figures(mlp, mlp.up)
            with np.errstate(over="ignore"):  # _checked names the row that overflows
                score = criterion.combine(gate, up)
            if norms is not None:
                score = _weighted(score, mlp, norms)
            scores[mlp.prefix] = _checked(score, mlp, criterion)
        return scores


def _weighted(scores: Floats, mlp: Mlp, norms: Norms) -> Floats:
    norm = norms.get(mlp.prefix)
    if norm is None or norm.shape != scores.shape:
        raise PruneError(f"{mlp.prefix}: the calibration gave no norm for each of its {mlp.neurons} neurons")
    if not np.isfinite(norm).all():
        raise PruneError(f"{mlp.prefix}: the calibration text drives its activations beyond what the dtype can hold")
    if not norm.any():
        raise PruneError(f"{mlp.prefix}: no token of the calibration text reaches it; use a longer --calibration text")
    with np.errstate(over="ignore"):
        return scores * norm.astype(np.float32)


def _checked(scores: Floats, mlp: Mlp, criterion: Criterion) -> Floats:
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise PruneError(
            f"{mlp.prefix}: the {criterion.name} score of row {row} overflows float32; use --criterion maw"
        )
    return scores


def _what_is_wrong(row: Floats, criterion: Criterion) -> str:
    if np.isnan(row).any():
        return "holds NaN; the checkpoint is damaged"
    if np.isinf(row).any():
        return "holds infinity; the checkpoint is damaged"
    return f"is too large for the {criterion.name} criterion in float32; use another --criterion"
