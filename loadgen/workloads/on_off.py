"""Requests that come for a while, stay away or come slower for a while, and so on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from base.quantities import PER_SECOND, SECONDS
from loadgen.workloads.open_loop import OpenLoop, unit_arrivals


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
        """When so many requests have been due: the inverse of the rate's integral."""
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
