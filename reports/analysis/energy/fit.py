"""Fit joules per prompt token, output token and request: a line through trials of different request shapes.

    joules of a window = a * prompt tokens + b * output tokens + c * requests

a is prefill, b is decoding, c is the rest of a request's cost. All are gross, for one configuration at one level of load: they include
idle power and depend on the load's batch size. The deviations of a trial grow with its joules, so the fit minimises the squares of
*relative* deviations (weights 1 / fitted^2, in three passes). Intervals are Student's t.

Whether a coefficient is identified depends on the lengths of the requests alone. The token counts of a window also vary with the phase
at which it was cut, and that variation carries no information about the cost of a token. A coefficient whose interval the other two
widen more than `INFLATED` times is not identified and not reported; the others may be. Attention makes a token more expensive at a
longer context, which a line cannot express; where shapes are repeated, the lack-of-fit test shows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from base.distributions import f_above, t_quantile
from energy.records import WindowEnergy
from reports.analysis.energy.model import Coefficient, EnergyModel, Residual
from reports.runs.reading import MeasuredRun
from reports.statistics.confidence import CONFIDENCE

Floats = NDArray[np.float64]
NAMES = ("prompt token", "output token", "request")
INFLATED = 10.0  # root of the variance inflation; above it an error of the line of a tenth of the scatter is as large as the interval
TOO_ALIKE = 1.5  # lengths whose largest is less than this times the smallest are reported as the cause
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Spent:
    """One trial's joules, and the tokens and requests credited in its window. Trials of the same `shape` are repeats.

    `lengths` are the mean prompt and output tokens of all its requests; None: as credited.
    """

    shape: str
    block: int
    joules: float
    prompt_tokens: float
    output_tokens: float
    requests: float
    lengths: tuple[float, float] | None = None


def gross(energy: WindowEnergy) -> float | None:
    """Joules with those of idle power."""
    return energy.gross_joules


def fit_energy_models(run: MeasuredRun, joules_of: Callable[[WindowEnergy], float | None] = gross) -> list[EnergyModel]:
    """One model for each configuration and load with measured joules, in the order of the configurations."""
    groups: dict[tuple[str, str], list[Spent]] = {}
    for label in (c.label for c in run.configurations):
        for t in run.trials:
            joules = joules_of(t.trial.energy)
            if t.cell.label != label or joules is None or t.metrics.credited_requests == 0:
                continue
            lengths = (t.metrics.prompt_tokens[t.metrics.completed], t.metrics.output_tokens[t.metrics.completed])
            spent = Spent(
                shape=t.cell.workload,
                block=t.cell.block,
                joules=joules,
                prompt_tokens=t.metrics.window_prompt_tokens,
                output_tokens=t.metrics.window_output_tokens,
                requests=t.metrics.credited_requests,
                lengths=(float(np.nanmean(lengths[0])), float(np.nanmean(lengths[1]))),
            )
            groups.setdefault((label, t.trial.workload.level_words), []).append(spent)
    return [fit_energy_model(label, load, spent) for (label, load), spent in groups.items()]


def fit_energy_model(label: str, load: str, spent: Sequence[Spent]) -> EnergyModel:
    """Fit the line to the trials of one configuration under one load, or give the reason why there is none."""
    rows = np.array([[s.prompt_tokens, s.output_tokens, s.requests] for s in spent], dtype=np.float64)
    joules = np.array([s.joules for s in spent], dtype=np.float64)
    shapes = sorted({s.shape for s in spent})
    design = _lengths(spent, shapes)
    ranges = [(float(column.min()), float(column.max())) for column in design.T[:2]]
    empty = EnergyModel(label=label, load=load, trials=len(spent), shapes=len(shapes))
    if len(shapes) == 1:
        return empty.model_copy(update={"reason": _why(ranges, 1)})
    if len(spent) < 4:
        return empty.model_copy(update={"reason": "three trials fit any line; four are the least"})
    fitted: Floats = joules
    coefficients: Floats = np.zeros(3)
    for _ in range(3):
        coefficients = np.asarray(np.linalg.lstsq(rows / fitted[:, None], joules / fitted, rcond=None)[0], np.float64)
        if (rows @ coefficients <= 0).any():
            return empty.model_copy(update={"reason": "the line gives no joules for a trial: it does not fit"})
        fitted = rows @ coefficients
    inflation = _inflation(design * (rows[:, 2] / fitted)[:, None])
    why = {n: _why(ranges, len(shapes)) for n, i in zip(NAMES, inflation, strict=True) if i > INFLATED}
    update: dict[str, Any] = {
        "inflation": [i if math.isfinite(i) else None for i in inflation],
        "not_identified": why,
        "prompt_range": ranges[0],
        "output_range": ranges[1],
    }
    if len(why) == len(NAMES):
        return empty.model_copy(update=update | {"reason": next(iter(why.values()))})
    return empty.model_copy(update=update | _figures(spent, rows, coefficients, fitted, why))


def _figures(
    spent: Sequence[Spent], rows: Floats, coefficients: Floats, fitted: Floats, why: Mapping[str, str]
) -> dict[str, Any]:
    """Identified coefficients with their intervals, the residuals, and the quality of the fit."""
    weighted = rows / fitted[:, None]
    shares = np.array([s.joules for s in spent]) / fitted - 1
    rank = int(np.linalg.matrix_rank(weighted))
    degrees = len(spent) - rank
    variance = float(shares @ shares) / degrees
    covariance = variance * np.linalg.pinv(weighted.T @ weighted)
    ends = t_quantile((1 + CONFIDENCE) / 2, degrees) * np.sqrt(np.diag(covariance))
    found = {
        name.replace(" ", "_"): Coefficient(joules=c, low=c - e, high=c + e)
        for name, c, e in zip(NAMES, coefficients, ends, strict=True)
        if name not in why
    }
    return found | {
        "covariance": covariance.tolist(),
        "degrees_of_freedom": degrees,
        "relative_deviation": math.sqrt(variance),
        "misfit_p": _misfit(shares, [s.shape for s in spent], rank),
        "residuals": [
            Residual(shape=s.shape, block=s.block, joules=s.joules, fitted_joules=f, share=d)
            for s, f, d in zip(spent, fitted.tolist(), shares.tolist(), strict=True)
        ],
    }


def _lengths(spent: Sequence[Spent], shapes: Sequence[str]) -> Floats:
    """One row per trial: mean prompt and output tokens of its shape over all trials, and 1."""
    own = {shape: [s.lengths or (s.prompt_tokens / s.requests, s.output_tokens / s.requests) for s in spent if s.shape == shape]
           for shape in shapes}  # fmt: skip
    means = {shape: np.mean(found, axis=0) for shape, found in own.items()}
    return np.array([[*means[s.shape], 1.0] for s in spent], dtype=np.float64)


def _inflation(design: Floats) -> list[float]:
    """The root of each column's variance inflation factor: its length over the part that the other columns do not explain."""
    found = []
    for n, column in enumerate(design.T):
        others = np.delete(design, n, axis=1)
        others = others / np.linalg.norm(others, axis=0)
        left = column - others @ np.linalg.lstsq(others, column, rcond=None)[0]
        unexplained = float(np.linalg.norm(left) / np.linalg.norm(column))
        found.append(1 / unexplained if unexplained > _ROUNDING else math.inf)
    return found


def _why(ranges: Sequence[tuple[float, float]], shapes: int) -> str:
    """Why the lengths do not identify a coefficient."""
    alike = [
        f"{name} lengths do not vary: {least:.0f} to {most:.0f} tokens"
        for name, (least, most) in zip(("prompt", "output"), ranges, strict=True)
        if most < TOO_ALIKE * least
    ]
    if shapes == 1:
        return "not identified (1 shape of requests under this load)"
    return f"not identified ({' and '.join(alike) or 'prompt and output lengths vary together'})"


def _misfit(shares: Floats, shapes: Sequence[str], rank: int) -> float | None:
    """The p-value of the lack-of-fit F test: the deviation of the shapes' means from the line against the scatter of their repeats."""
    names = np.array(shapes)
    groups = [shares[names == name] for name in sorted(set(shapes))]
    within = sum(float(((g - g.mean()) ** 2).sum()) for g in groups)
    of_shapes, of_repeats = len(groups) - rank, len(shares) - len(groups)
    if of_shapes < 1 or of_repeats < 1 or within <= 0:
        return None
    between = float(shares @ shares) - within
    return f_above(between / of_shapes / (within / of_repeats), of_shapes, of_repeats)
