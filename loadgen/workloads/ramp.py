"""Ramps: the rate of an open loop, or the users of a closed one, from a first level to a last."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from base.quantities import PER_SECOND, SECONDS
from loadgen.workloads.base import Workload
from loadgen.workloads.open_loop import unit_arrivals


class RampLoad(Workload):
    """From `rate` to `end_rate`, or from `concurrency` to `end_concurrency`, over `duration_s`. No part of it is steady."""

    kind: Literal["ramp"] = "ramp"
    duration_s: Annotated[float, SECONDS] = Field(gt=0, description="Length of the ramp; no request starts after it.")
    rate: Annotated[float | None, PER_SECOND] = Field(
        default=None, gt=0, description="Requests per second at the start of a ramp of arrivals."
    )
    end_rate: Annotated[float | None, PER_SECOND] = Field(
        default=None, gt=0, description="Requests per second at its end."
    )
    concurrency: int | None = Field(
        default=None, ge=1, description="Requests in flight at the start of a ramp of users."
    )
    end_concurrency: int | None = Field(default=None, ge=1, description="Requests in flight at its end.")
    ramp_steps: int | None = Field(
        default=None,
        ge=2,
        description="Rise or fall in this number of equal steps, first and last included, instead of a straight line.",
    )
    burstiness: float | None = Field(
        default=None, gt=0, description="Shape of the gamma-distributed gaps; without it arrivals are evenly spaced."
    )

    @property
    def open_loop(self) -> bool:
        return self.rate is not None

    def arrivals(self, seed: int) -> Iterator[float]:
        """Evenly spaced, or with gamma gaps, on a clock that runs as fast as the rate is."""
        if not self.open_loop:
            return super().arrivals(seed)
        moments = itertools.takewhile(math.isfinite, map(self._clock(), unit_arrivals(self.burstiness, seed)))
        return itertools.takewhile(lambda at: at < self.duration_s, moments)

    def _clock(self) -> Callable[[float], float]:
        """From how many requests have been due to when that is: the inverse of the rate's integral; infinite past the ramp.

        Linear: n = rate·t + (end_rate - rate)·t²/2·duration, solved for t in the form that also holds where both rates are one.
        """
        low, high, length = self.rate or math.nan, self.end_rate or math.nan, self.duration_s
        if self.ramp_steps is None:
            slope = (high - low) / length

            def linear(n: float) -> float:
                inside = low * low + 2 * slope * n
                at = 2 * n / (low + math.sqrt(inside)) if inside >= 0 else math.inf
                return at if at <= length else math.inf

            return linear
        steps, each = self.ramp_steps, length / self.ramp_steps

        def stepped(n: float) -> float:
            for step in range(steps):
                rate = low + (high - low) * step / (steps - 1)
                if n < rate * each:
                    return step * each + n / rate
                n -= rate * each
            return math.inf

        return stepped

    @property
    def in_flight(self) -> int | None:
        return None if self.open_loop else max(self.concurrency or 1, self.end_concurrency or 1)

    def users(self) -> list[tuple[float, float]]:
        """They come one after another, or a step's users together; they go as a rising ramp played backwards."""
        first, last, length = self.concurrency or 1, self.end_concurrency or 1, self.duration_s
        if first <= last:
            return [(start, math.inf) for start in self._rise(first, last)]
        return [(0.0, length - start if start else math.inf) for start in self._rise(last, first)]

    def _rise(self, first: int, last: int) -> list[float]:
        """Seconds after the start at which each user of a rising ramp sends its first request."""
        length, steps = self.duration_s, self.ramp_steps
        if steps is None:
            return [length * max(0, user - first + 1) / (last - first + 1) for user in range(last)]
        levels = [round(first + (last - first) * step / (steps - 1)) for step in range(steps)]
        starts = (next(step for step, level in enumerate(levels) if user < level) for user in range(last))
        return [start * length / steps for start in starts]

    @property
    def level(self) -> float:
        return float(self.rate or self.concurrency or 0)

    @property
    def words(self) -> str:
        if self.open_loop:
            return f"{self.rate} to {self.end_rate} requests/s"
        return f"{self.concurrency} to {self.end_concurrency} requests in flight"

    def vllm_terms(self) -> dict[str, Any]:
        terms = super().vllm_terms() | {"burstiness": self.burstiness}
        if not self.open_loop:
            return terms
        strategy = "linear" if self.ramp_steps is None else "steps"
        return terms | {
            "ramp_up_strategy": strategy,
            "ramp_up_start_rps": self.rate,
            "ramp_up_end_rps": self.end_rate,
        }

    def guidellm_terms(self, seed: int) -> dict[str, Any]:
        return {"type_": "constant", "rate": self.end_rate} if self.open_loop else super().guidellm_terms(seed)

    def check(self) -> None:
        super().check()
        pairs = [(self.rate, self.end_rate), (self.concurrency, self.end_concurrency)]
        if [None not in pair for pair in pairs].count(True) != 1 or pairs.count((None, None)) != 1:
            raise ValueError("a ramp workload needs `rate` and `end_rate`, or `concurrency` and `end_concurrency`")
