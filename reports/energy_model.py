"""What a prompt token, an output token and a request cost, each by itself: a line through trials of unlike shapes.

    joules of a window = a * prompt tokens + b * output tokens + c * requests

a is prefill, b decoding, c what a request costs besides. All are gross, at one level of load and of one configuration: idle
power is in them, and so is the batch that the load makes. The deviations of a trial grow with its joules, so squares of
*relative* deviations are minimised (weights 1 / fitted^2, settled in three passes); intervals are Student's t. Attention makes a
token dearer the longer the context is, which a line does not know: where shapes are repeated, the lack-of-fit test shows it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from energy.records import Record
from loadgen.records import Workload
from reports.confidence import CONFIDENCE
from reports.reading import MeasuredRun

Floats = NDArray[np.float64]
NAMES = ("prompt token", "output token", "request")
ILL_CONDITIONED = (
    30.0  # of the scaled columns; beyond it coefficients cannot be told apart (Belsley, Kuh and Welsch 1980)
)
TOO_ALIKE = 1.5  # lengths whose largest is less than so many times the smallest say little
MISFIT_P = 0.01


@dataclass(frozen=True)
class Spent:
    """What one trial's window took and what was credited in it. `shape` names trials that repeat each other."""

    shape: str
    block: int
    joules: float
    prompt_tokens: float
    output_tokens: float
    requests: float


class Coefficient(Record):
    """Joules a unit, with the ends of the 95 % interval."""

    joules: float
    low: float
    high: float


class Residual(Record):
    """One trial against the line."""

    shape: str
    block: int
    joules: float
    fitted_joules: float
    share: float  # (joules - fitted) / fitted


class Prediction(Record):
    """Joules a request of some shape would take, with the ends of the 95 % interval for another trial's mean."""

    joules_per_request: float
    low: float
    high: float
    joules_per_output_token: float
    extrapolated: bool  # a length lies outside those measured


class EnergyModel(Record):
    """The line of one configuration under one load; `reason` says why there is none, and the rest is then empty."""

    label: str
    load: str
    trials: int
    shapes: int
    prompt_token: Coefficient | None = None
    output_token: Coefficient | None = None
    request: Coefficient | None = None
    covariance: list[list[float]] = []  # of prompt token, output token and request, in square joules
    degrees_of_freedom: int = 0
    relative_deviation: float | None = None  # of a trial from the line, one standard deviation
    condition: float | None = None
    misfit_p: float | None = None  # of the lack-of-fit test; None: no shape was repeated, or there are only three
    prompt_range: tuple[float, float] | None = None  # tokens a request, of the trials
    output_range: tuple[float, float] | None = None
    residuals: list[Residual] = []
    reason: str | None = None

    def predict(self, prompt_tokens: float, output_tokens: float) -> Prediction:
        """Raises ValueError with the reason where there is no line."""
        found = (self.prompt_token, self.output_token, self.request)
        if self.reason is not None or None in found or self.prompt_range is None or self.output_range is None:
            raise ValueError(self.reason or "there is no model")
        row = np.array([prompt_tokens, output_tokens, 1.0])
        joules = float(row @ [c.joules for c in found if c is not None])
        own = (self.relative_deviation or 0.0) * joules
        half = _t(self.degrees_of_freedom) * math.sqrt(max(0.0, float(row @ np.array(self.covariance) @ row)) + own**2)
        (least, most), (shortest, longest) = self.prompt_range, self.output_range
        return Prediction(
            joules_per_request=joules,
            low=joules - half,
            high=joules + half,
            joules_per_output_token=joules / output_tokens,
            extrapolated=not (least <= prompt_tokens <= most and shortest <= output_tokens <= longest),
        )


def fit_energy_models(run: MeasuredRun) -> list[EnergyModel]:
    """One for each configuration and load of a run that has measured joules, in the order of the configurations."""
    groups: dict[tuple[str, str], list[Spent]] = {}
    for label in (c.label for c in run.configurations):
        for t in run.trials:
            joules = t.trial.energy.gross_joules
            if t.cell.label != label or joules is None or t.metrics.credited_requests == 0:
                continue
            spent = Spent(
                shape=t.cell.workload,
                block=t.cell.block,
                joules=joules,
                prompt_tokens=t.metrics.window_prompt_tokens,
                output_tokens=t.metrics.window_output_tokens,
                requests=t.metrics.credited_requests,
            )
            groups.setdefault((label, load_of(t.trial.workload)), []).append(spent)
    return [fit_energy_model(label, load, spent) for (label, load), spent in groups.items()]


def load_of(workload: Workload) -> str:
    """The level of load in words, without the shape of its requests: only trials at one level lie on one line."""
    if workload.kind == "batch":
        return f"batches of {workload.batch_size}"
    if workload.kind == "concurrency":
        return f"{workload.concurrency} in flight"
    return workload.kind if workload.rate is None else f"{workload.kind}, {workload.rate:g} requests/s"


def fit_energy_model(label: str, load: str, spent: Sequence[Spent]) -> EnergyModel:
    """The line through the trials of one configuration under one load, or the reason why there is none."""
    rows = np.array([[s.prompt_tokens, s.output_tokens, s.requests] for s in spent], dtype=np.float64)
    joules = np.array([s.joules for s in spent], dtype=np.float64)
    shapes = sorted({s.shape for s in spent})
    per_request = rows[:, :2] / rows[:, 2:]
    ranges = [(float(column.min()), float(column.max())) for column in per_request.T]
    empty = EnergyModel(label=label, load=load, trials=len(spent), shapes=len(shapes))
    reason = _too_little(len(spent), len(shapes), ranges)
    if reason is not None:
        return empty.model_copy(update={"reason": reason})
    fitted = joules
    for _ in range(3):
        weighted = rows / fitted[:, None]
        coefficients = np.linalg.lstsq(weighted, joules / fitted, rcond=None)[0]
        if (rows @ coefficients <= 0).any():
            return empty.model_copy(update={"reason": "the line gives no joules for a trial: it does not fit"})
        fitted = rows @ coefficients
    weighted = rows / fitted[:, None]
    condition = float(np.linalg.cond(weighted / np.linalg.norm(weighted, axis=0)))
    if condition > ILL_CONDITIONED:
        why = f"prompt and output lengths vary together (condition number {condition:.0f}, above {ILL_CONDITIONED:.0f})"
        return empty.model_copy(update={"reason": why, "condition": condition})
    shares = joules / fitted - 1
    degrees = len(spent) - 3
    variance = float(shares @ shares) / degrees
    covariance = variance * np.linalg.inv(weighted.T @ weighted)
    ends = _t(degrees) * np.sqrt(np.diag(covariance))
    found = [Coefficient(joules=c, low=c - e, high=c + e) for c, e in zip(coefficients, ends, strict=True)]
    return empty.model_copy(
        update={
            "prompt_token": found[0],
            "output_token": found[1],
            "request": found[2],
            "covariance": covariance.tolist(),
            "degrees_of_freedom": degrees,
            "relative_deviation": math.sqrt(variance),
            "condition": condition,
            "misfit_p": _misfit(shares, [s.shape for s in spent]),
            "prompt_range": ranges[0],
            "output_range": ranges[1],
            "residuals": [
                Residual(shape=s.shape, block=s.block, joules=s.joules, fitted_joules=f, share=d)
                for s, f, d in zip(spent, fitted.tolist(), shares.tolist(), strict=True)
            ],
        }
    )


def _too_little(trials: int, shapes: int, ranges: Sequence[tuple[float, float]]) -> str | None:
    if shapes < 3:
        return f"{shapes} shape{'s' * (shapes != 1)} of requests under this load; three are the least"
    if trials < 4:
        return "three trials fit any line; four are the least"
    for name, (least, most) in zip(("prompt", "output"), ranges, strict=True):
        if most < TOO_ALIKE * least:
            return f"{name} lengths do not vary: {least:.0f} to {most:.0f} tokens"
    return None


def _misfit(shares: Floats, shapes: Sequence[str]) -> float | None:
    """The p of the lack-of-fit F test: do the shapes' means lie further off the line than their repeats scatter?"""
    names = np.array(shapes)
    groups = [shares[names == name] for name in sorted(set(shapes))]
    within = sum(float(((g - g.mean()) ** 2).sum()) for g in groups)
    of_shapes, of_repeats = len(groups) - 3, len(shares) - len(groups)
    if of_shapes < 1 or of_repeats < 1 or within <= 0:
        return None
    between = float(shares @ shares) - within
    return float(stats.f.sf(between / of_shapes / (within / of_repeats), of_shapes, of_repeats))


def _t(degrees: int) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees))
