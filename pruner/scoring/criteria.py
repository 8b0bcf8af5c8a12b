"""The criteria: how much a neuron counts, and everything that is known of each. A new one is a `register` call.

Every criterion of gate and up is a figure of the gate row combined with the same figure of the up row, in float32, with the
bits that optipfair 0.4.2 gets from torch on a CPU: MAW because maxima do not depend on an order, the others because they add
up in torch's order (`aten/src/ATen/native/SharedReduceOps.h` and `cpu/ReduceOpsKernel.cpp`), L2 for rows of a multiple of 8.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pruner.errors import PruneError
from pruner.scoring.calibration import Activation
from pruner.scoring.citations import cite

Floats = NDArray[np.float32]
WEIGHTS_ONLY = "reads weights only"


@dataclass(frozen=True)
class Criterion:
    """One way to score neurons; the highest scores stay.

    row_figure: of matrices [rows, columns], a figure a row; the score is `combine` of a neuron's gate and up figures. NaN or
        infinite for a row that holds NaN or infinity.
    column_term: of weights of the down projection, elementwise; the score is the sum over a neuron's column. A criterion
        has one of the two, or neither: then scores are drawn from a seed, and no weight is read.
    activation: the score is multiplied by this figure of what the neuron feeds the down projection, over a text.
    """

    name: str
    words: str  # the score, for model cards and docs
    origin: str  # who defined it, for docs
    cost: str = WEIGHTS_ONLY  # what it needs and costs, for docs
    row_figure: Callable[[Floats], Floats] | None = None
    combine: Callable[[Floats, Floats], Floats] = np.add
    column_term: Callable[[Floats], Floats] | None = None
    activation: Activation | None = None
    citations: tuple[str, ...] = ()  # BibTeX, beside the study's

    @property
    def calibrated(self) -> bool:
        """Whether it needs a text."""
        return self.activation is not None

    @property
    def seeded(self) -> bool:
        """Whether its scores are drawn from a seed."""
        return self.row_figure is None and self.column_term is None


_CRITERIA: dict[str, Criterion] = {}


def register(criterion: Criterion) -> None:
    """Offer a criterion everywhere. Raises ValueError for a name that is taken."""
    if criterion.name in _CRITERIA:
        raise ValueError(f"there is a criterion {criterion.name} already")
    _CRITERIA[criterion.name] = criterion


def criteria() -> list[Criterion]:
    """All registered criteria."""
    return list(_CRITERIA.values())


def criterion_choices() -> tuple[str, ...]:
    """What `--criterion` takes."""
    return tuple(_CRITERIA)


def find_criterion(name: str) -> Criterion:
    """The criterion of that name. Raises PruneError."""
    if name not in _CRITERIA:
        raise PruneError(f"--criterion {name}: must be one of {', '.join(_CRITERIA)}")
    return _CRITERIA[name]


def needing_text() -> str:
    """The criteria that need a text, for messages."""
    return ", ".join(criterion.name for criterion in _CRITERIA.values() if criterion.calibrated)


def costs() -> str:
    """What each criterion needs and costs, for help: those that cost the same together."""
    names: dict[str, list[str]] = {}
    for criterion in _CRITERIA.values():
        names.setdefault(criterion.cost, []).append(criterion.name)
    return "; ".join(f"{', '.join(same)}: {cost.replace('`', '')}" for cost, same in names.items())


def _spread(rows: Floats) -> Floats:
    """Peak-to-peak, max + |min|: truly so only where a row straddles 0 (the library's code; its documentation says max |w|)."""
    result: Floats = rows.max(axis=1) + np.abs(rows.min(axis=1))
    return result


def _variance(rows: Floats) -> Floats:
    """Unbiased variance by Welford's recurrence in float64, all rows at once; 0/0 for a single column, as in torch."""
    columns = np.ascontiguousarray(rows.T)
    mean = np.zeros(len(rows))
    squares = np.zeros(len(rows))
    for count, column in enumerate(columns, 1):
        delta = column - mean
        mean += delta / count
        squares += delta * (column - mean)
    return (squares / (len(columns) - 1)).astype(np.float32)


def _norm1(rows: Floats) -> Floats:
    """Sum of absolutes, one after the other: a running sum in float32."""
    return np.cumsum(np.abs(rows), axis=1, dtype=np.float32)[:, -1]


def _norm2(rows: Floats) -> Floats:
    """Root of the sum of squares in eight interleaved running sums, as a vector register of eight floats adds them."""
    whole = rows.shape[1] // 8 * 8
    squares = rows * rows
    lanes = squares[:, :whole].reshape(len(rows), -1, 8).sum(axis=1)
    total: Floats = np.cumsum(np.hstack([lanes, squares[:, whole:]]), axis=1)[:, -1]
    return np.sqrt(total)


def random_scores(neurons: int, seed: int, prefix: str) -> Floats:
    """A random order of an MLP's neurons as distinct scores: it depends on the seed and the MLP's name, on nothing else."""
    words = np.frombuffer(hashlib.sha256(prefix.encode()).digest(), "<u4").tolist()
    draws = np.random.PCG64([seed, *words]).random_raw(neurons)  # the raw stream does not change between numpy versions
    return np.argsort(np.argsort(draws)).astype(np.float32)


_OVER_ROWS = "over the neuron's rows of the gate and up projections"
_ONE_RUN = "runs the model once over a text, with the `transformers` extra"
register(
    Criterion(
        name="maw",
        words=f"(max gate + |min gate|) + (max up + |min up|), {_OVER_ROWS}",
        origin="the study, arXiv 2512.22671; optipfair calls it MAW, later PPM",
        row_figure=_spread,
    )
)
register(Criterion(name="vow", words=f"var(gate) + var(up), {_OVER_ROWS}", origin="optipfair", row_figure=_variance))
register(
    Criterion(
        name="pon",
        words="the L1 norms of the neuron's gate and up rows, multiplied",
        origin="optipfair",
        row_figure=_norm1,
        combine=np.multiply,
    )
)
register(
    Criterion(
        name="l2",
        words="the L2 norms of the neuron's gate and up rows, added",
        origin="optipfair",
        row_figure=_norm2,
    )
)
register(
    Criterion(
        name="random",
        words="a seeded random order, as a control",
        origin="`--seed` and the MLP's name",
        cost="reads nothing",
    )
)
# A product with the norm of what a neuron feeds the down projection.
_wanda = partial(Criterion, cost=_ONE_RUN, activation="norm", citations=(cite("sun2024wanda"),))
register(
    _wanda(
        name="act",
        words="the maw score times the L2 norm of what the neuron feeds the down projection, over a calibration text",
        origin="the product is Wanda's, arXiv 2306.11695",
        row_figure=_spread,
    )
)
register(
    _wanda(
        name="wanda",
        words="the L1 norm of the neuron's column of the down projection times the L2 norm of what it feeds it, over a calibration text",
        origin="Wanda, arXiv 2306.11695, summed over a neuron",
        column_term=np.abs,
    )
)
register(
    Criterion(
        name="obs",
        words="the squared error of the MLP's output over a calibration text once the neuron is removed and the others are refitted",
        origin="OBS, as SparseGPT computes it, arXiv 2301.00774, for a whole neuron",
        cost=f"{_ONE_RUN}, and inverts a matrix of neurons x neurons for each MLP",
        column_term=np.square,
        activation="unexplained",
        citations=(cite("frantar2023sparsegpt"),),
    )
)
register(
    Criterion(
        name="taylor",
        words="the act score times the L2 norm of what the neuron feeds the down projection times the gradient of the text's loss by it",
        origin="the first order of what silencing it would change, arXiv 1906.10771, times `act`",
        cost="runs the model three times over a text and once backwards, with the `transformers` extra and 4 GB of disk or less",
        row_figure=_spread,
        activation="norm x slope",
        citations=(cite("sun2024wanda"), cite("molchanov2019importance")),
    )
)
