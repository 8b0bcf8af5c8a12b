"""Scores: the weights are read once, in row blocks, for one figure a neuron; a text's activity may weigh it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from pruner.checkpoint.anatomy import Anatomy, Mlp, RowSpan
from pruner.checkpoint.folder import Checkpoint
from pruner.checkpoint.tensors import opened, row_blocks, to_float32
from pruner.errors import PruneError
from pruner.scoring.calibration import Activity
from pruner.scoring.criteria import Criterion, Floats, random_scores

Advance = Callable[[int], None]  # called with the number of bytes just done


def scoring_bytes(checkpoint: Checkpoint, anatomy: Anatomy, criterion: Criterion) -> int:
    """Bytes that `score_weights` reads."""
    if criterion.column_term is not None:
        names = set(anatomy.downs.values())
    elif criterion.row_figure is not None:
        names = {span.tensor for mlp in anatomy.mlps for span in (mlp.gate, mlp.up)}
    else:
        names = set()
    return sum(checkpoint.tensors[name][1].nbytes for name in names)


def score_weights(
    checkpoint: Checkpoint, anatomy: Anatomy, criterion: Criterion, advance: Advance, *, seed: int = 0
) -> dict[str, Floats]:
    """MLP prefix -> scores [neurons], float32, by the weights alone: all that is kept of a block of rows.

    Raises:
        PruneError: a scored weight is NaN or infinite, or a score overflows; the message names tensor and row.

    """
    if criterion.seeded:
        return {mlp.prefix: random_scores(mlp.neurons, seed, mlp.prefix) for mlp in anatomy.mlps}
    with ExitStack() as files:
        descriptors = {shard.name: files.enter_context(opened(shard.path)) for shard in checkpoint.shards}

        def blocks(name: str, first: int, stop: int | None) -> Iterator[tuple[int, Floats]]:
            shard, tensor = checkpoint.tensors[name]
            for row, block in row_blocks(descriptors[shard.name], tensor, first, stop):
                yield row, to_float32(block)
                advance(block.nbytes)

        def figures(mlp: Mlp, span: RowSpan) -> Floats:
            rows = blocks(span.tensor, span.first, span.first + mlp.neurons)
            return np.concatenate([_row_figures(span.tensor, row, values, criterion) for row, values in rows])

        scores = {}
        for mlp in anatomy.mlps:
            if criterion.column_term is not None:
                score = _column_sums(anatomy.downs[mlp.prefix], blocks(anatomy.downs[mlp.prefix], 0, None), criterion)
            else:
                gate, up = figures(mlp, mlp.gate), figures(mlp, mlp.up)
                with np.errstate(over="ignore"):  # _checked names the row that overflows
                    score = criterion.combine(gate, up)
            scores[mlp.prefix] = _checked(score, mlp, criterion)
        return scores


def _row_figures(tensor: str, row: int, values: Floats, criterion: Criterion) -> Floats:
    if criterion.row_figure is None:
        raise ValueError(f"{criterion.name} has no row_figure")
    with np.errstate(all="ignore"):  # what is not finite is found next, and its row is named
        part = criterion.row_figure(values)
    if not np.isfinite(part).all():
        bad = int(np.flatnonzero(~np.isfinite(part))[0])
        raise PruneError(f"{tensor}: row {row + bad} {_what_is_wrong(values[bad], criterion)}")
    return part


def _column_sums(tensor: str, blocks: Iterator[tuple[int, Floats]], criterion: Criterion) -> Floats:
    """The criterion's terms added up in float64, down every column."""
    if criterion.column_term is None:
        raise ValueError(f"{criterion.name} has no column_term")
    total: NDArray[np.float64] | float = 0.0
    for row, values in blocks:
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            raise PruneError(f"{tensor}: row {row + int(bad[0])} {_what_is_wrong(values[bad[0]], criterion)}")
        total = total + criterion.column_term(values.astype(np.float64)).sum(axis=0)
    with np.errstate(over="ignore"):
        return np.asarray(total).astype(np.float32)


def weigh(scores: Floats, activity: Activity, criterion: Criterion) -> Floats:
    """The scores times the criterion's figure of the activity; unchanged if it has none or no token reached the MLP.

    Raises PruneError if the figures are not [neurons] finite numbers, or a product overflows.
    """
    if criterion.activation is None or activity.tokens == 0:
        return scores
    mlp, figure = activity.mlp, activity.figure(criterion.activation)
    if figure.shape != scores.shape:
        raise PruneError(f"{mlp.prefix}: the calibration gave no figure for each of its {mlp.neurons} neurons")
    if not np.isfinite(figure).all():
        raise PruneError(f"{mlp.prefix}: the calibration text drives its activations beyond what the dtype can hold")
    with np.errstate(over="ignore"):
        return _checked(scores * figure.astype(np.float32), mlp, criterion)


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
