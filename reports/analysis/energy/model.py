"""The energy model: joules per prompt token, output token and request, fitted by `reports.analysis.energy.fit`, and its predictions."""

from __future__ import annotations

import math

import numpy as np

from base.distributions import t_quantile
from base.records import Record
from reports.statistics.confidence import CONFIDENCE

MISFIT_P = 0.01


class Coefficient(Record):
    """Joules per unit, with the ends of the 95 % interval."""

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
    """Predicted joules of a request of some shape, with the 95 % interval for another trial's mean."""

    joules_per_request: float
    low: float
    high: float
    joules_per_output_token: float
    extrapolated: bool  # a length is outside the measured range


class EnergyModel(Record):
    """The line of one configuration under one load; if there is none, `reason` says why and the rest is empty.

    `not_identified` has the reason of each coefficient that a line lacks.
    """

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
    inflation: list[float | None] = []  # factor by which the other coefficients widen each interval; None: infinite
    not_identified: dict[str, str] = {}  # reasons by coefficient
    misfit_p: float | None = (
        None  # of the lack-of-fit test; None: no repeated shapes, or no more shapes than coefficients
    )
    prompt_range: tuple[float, float] | None = None  # tokens per request
    output_range: tuple[float, float] | None = None
    residuals: list[Residual] = []
    reason: str | None = None

    @property
    def incomplete(self) -> str | None:
        """Why the line predicts nothing; None if it does."""
        missing = (
            f"the joules of a{'n' * (name[0] == 'o')} {name} are {why}" for name, why in self.not_identified.items()
        )
        return self.reason or "; ".join(missing) or None

    @property
    def fit(self) -> str:
        """The result of the lack-of-fit test, in words."""
        if self.misfit_p is None:
            return "not tested: the test needs repeats and more shapes than coefficients"
        if self.misfit_p < MISFIT_P:
            return f"a line does not fit (p = {self.misfit_p:.2g})"
        return f"no lack of fit seen (p = {self.misfit_p:.2g})"

    @property
    def is_bent(self) -> bool:
        """Whether the lack-of-fit test rejects the line; its intervals then do not hold."""
        return self.misfit_p is not None and self.misfit_p < MISFIT_P

    def predict(self, prompt_tokens: float, output_tokens: float) -> Prediction:
        """Predict a request's joules. Raises ValueError with the reason if there is no line or it lacks a coefficient."""
        found = (self.prompt_token, self.output_token, self.request)
        if self.incomplete is not None or self.prompt_range is None or self.output_range is None:
            raise ValueError(self.incomplete or "there is no model")
        row = np.array([prompt_tokens, output_tokens, 1.0])
        joules = float(row @ [c.joules for c in found if c is not None])
        own = (self.relative_deviation or 0.0) * joules
        half = t_quantile((1 + CONFIDENCE) / 2, self.degrees_of_freedom) * math.sqrt(
            max(0.0, float(row @ np.array(self.covariance) @ row)) + own**2
        )
        (least, most), (shortest, longest) = self.prompt_range, self.output_range
        return Prediction(
            joules_per_request=joules,
            low=joules - half,
            high=joules + half,
            joules_per_output_token=joules / output_tokens,
            extrapolated=not (least <= prompt_tokens <= most and shortest <= output_tokens <= longest),
        )
