"""Open loops: requests leave by a schedule that no answer delays."""

from __future__ import annotations

import itertools
import math
import random
from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from base.quantities import PER_SECOND, SECONDS
from loadgen.workloads.base import Workload
from loadgen.workloads.timing import WindowCut


class OpenLoop(Workload):
    """Requests that leave as `moments` says, until the workload's number or time is reached."""

    window_cut: ClassVar[WindowCut] = "steady"

    @abstractmethod
    def moments(self, seed: int) -> Iterator[float]:
        """Seconds after the start at which requests leave, rising and without end."""

    @property
    def open_loop(self) -> bool:
        return True

    def arrivals(self, seed: int) -> Iterator[float]:
        end = math.inf if self.duration_s is None else self.duration_s
        return itertools.takewhile(lambda at: at < end, itertools.islice(self.moments(seed), self.requests))


class RatedLoad(OpenLoop):
    """What the three share: a rate."""

    rate: Annotated[float, PER_SECOND] = Field(gt=0, description="Requests per second.")
    sweep: str | None = Field(
        default=None,
        description="Name of the sweep that this rate is a point of; set by the program.",
        json_schema_extra={"readOnly": True},
    )

    @property
    def constant_rate(self) -> float:
        return self.rate

    @property
    def swept_by(self) -> str | None:
        return self.sweep

    def vllm_terms(self) -> dict[str, Any]:
        return super().vllm_terms() | {"request_rate": self.rate}


class ConstantLoad(RatedLoad):
    """Evenly spaced requests, the first at 0."""

    kind: Literal["constant"] = "constant"

    def moments(self, seed: int) -> Iterator[float]:
        return (n / self.rate for n in itertools.count())

    @property
    def words(self) -> str:
        return f"{self.rate} requests/s, evenly"


class PoissonLoad(RatedLoad):
    """Exponential gaps with mean 1/rate, so that the first request is not at 0."""

    kind: Literal["poisson"] = "poisson"

    def moments(self, seed: int) -> Iterator[float]:
        draw = random.Random(seed)
        return itertools.accumulate(draw.expovariate(self.rate) for _ in itertools.count())

    @property
    def words(self) -> str:
        return f"{self.rate} requests/s, Poisson arrivals"

    def vllm_terms(self) -> dict[str, Any]:
        return super().vllm_terms() | {"burstiness": 1.0}

    def guidellm_terms(self, seed: int) -> dict[str, Any]:
        return {"type_": "poisson", "rate": self.rate, "random_seed": seed}


class BurstLoad(RatedLoad):
    """Gamma gaps with mean 1/rate and shape `burstiness`, as `vllm bench serve --burstiness` draws them.

    They are not stretched afterwards to end at a round time, which would make them no gamma gaps.
    """

    kind: Literal["burst"] = "burst"
    burstiness: float = Field(
        gt=0, description="Shape of the gamma-distributed gaps: 1 is Poisson, below 1 requests come in bursts."
    )

    def moments(self, seed: int) -> Iterator[float]:
        return (at / self.rate for at in unit_arrivals(self.burstiness, seed))

    @property
    def words(self) -> str:
        return f"{self.rate} requests/s in bursts (gamma gaps of shape {self.burstiness})"

    def vllm_terms(self) -> dict[str, Any]:
        return super().vllm_terms() | {"burstiness": self.burstiness}

    def guidellm_terms(self, seed: int) -> dict[str, Any]:
        return {"type_": "poisson", "rate": self.rate, "random_seed": seed}


class OnOffLoad(OpenLoop):
    """`rate` for `on_s`, then `off_rate` for `off_s`, again and again. No part of it is steady."""

    window_cut = "whole"

    kind: Literal["on-off"] = "on-off"
    rate: Annotated[float, PER_SECOND] = Field(gt=0, description="Requests per second while it is on.")
    on_s: Annotated[float, SECONDS] = Field(gt=0, description="How long it is on, first of all.")
    off_s: Annotated[float, SECONDS] = Field(gt=0, description="How long it is off after that.")
    off_rate: Annotated[float, PER_SECOND] = Field(default=0, ge=0, description="Requests per second while it is off.")
    burstiness: float = Field(
        default=1.0,
        gt=0,
        description="Shape of the gamma-distributed gaps, on a clock that runs as fast as the rate is: 1 is Poisson.",
    )

    def moments(self, seed: int) -> Iterator[float]:
        return map(self._at, unit_arrivals(self.burstiness, seed))

    def _at(self, due: float) -> float:
        """Seconds until `due` requests have been due: the inverse of the rate's integral."""
        while_on = self.rate * self.on_s
        cycles, rest = divmod(due, while_on + self.off_rate * self.off_s)
        within = rest / self.rate if rest < while_on else self.on_s + (rest - while_on) / self.off_rate
        return cycles * (self.on_s + self.off_s) + within

    @property
    def level(self) -> float:
        return self.rate

    @property
    def words(self) -> str:
        return f"{self.rate} requests/s for {self.on_s:g} s and {self.off_rate:g} for {self.off_s:g} s, in turn"

    def vllm_terms(self) -> dict[str, Any]:
        return super().vllm_terms() | {"request_rate": None}

    def guidellm_terms(self, seed: int) -> dict[str, Any]:
        return {"type_": "poisson", "rate": self.rate, "random_seed": seed}


def unit_arrivals(burstiness: float | None, seed: int) -> Iterator[float]:
    """Moments at one a second on average: 0, 1, 2 … or with gamma gaps of a shape."""
    if burstiness is None:
        return (float(n) for n in itertools.count())
    draw, shape = random.Random(seed), burstiness
    return itertools.accumulate(draw.gammavariate(shape, 1 / shape) for _ in itertools.count())
