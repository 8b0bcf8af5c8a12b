"""A sweep: the same load at several rates, one workload for each. `loadgen.sweeps` picks and judges them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from base.quantities import PER_SECOND
from loadgen.workloads.base import Workload, with_lengths
from loadgen.workloads.open_loop import BurstLoad, PoissonLoad, RatedLoad

FEWEST = 20  # requests at any rate: fewer show nothing
_DURATION_S, _RATE = 60.0, 1.0  # on the command line: seconds of every rate, and the lowest of them


class SweepLoad(Workload):
    """Rates from `rate` up to `end_rate`, as the search needs them, or the stated `rates`."""

    kind: Literal["sweep"] = "sweep"
    rate: Annotated[float | None, PER_SECOND] = Field(
        default=None, gt=0, description="The rate at which a search starts."
    )
    end_rate: Annotated[float | None, PER_SECOND] = Field(
        default=None, gt=0, description="The highest rate that a search tries."
    )
    rates: list[Annotated[float, Field(gt=0), PER_SECOND]] | None = Field(
        default=None, min_length=1, description="The rates to try, instead of a search."
    )
    burstiness: float | None = Field(
        default=None, gt=0, description="Shape of the gamma-distributed gaps; without it arrivals are Poisson."
    )
    slo_share: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="Share of the requests that must meet every objective for a rate to be called good.",
    )

    def points(self) -> list[Workload]:
        """A load for each rate. Raises ValueError without stated rates: several configurations need the same ones."""
        if self.rates is None:
            raise ValueError("a sweep in an experiment needs `rates`, so that every configuration meets the same")
        return [self.at_rate(rate) for rate in self.rates]

    def at_rate(self, rate: float) -> RatedLoad:
        """One point: Poisson arrivals, or gamma ones where the sweep has a burstiness.

        A duration becomes the number of requests that the rate sends in it, at least `FEWEST`.
        """
        own = {"kind", "rates", "end_rate", "slo_share", "requests", "duration_s"}
        fields = self.model_dump(exclude=own) | {
            "name": f"{self.name}-{rate:.6g}rps",
            "rate": rate,
            "requests": self.requests or max(FEWEST, round(rate * (self.duration_s or 0))),
            "sweep": self.name,
        }
        return (PoissonLoad if self.burstiness is None else BurstLoad).model_validate(fields)

    @property
    def words(self) -> str:
        return (
            f"{self.rates} requests/s" if self.rates else f"from {self.rate} requests/s until the server is saturated"
        )

    @property
    def has_objectives(self) -> bool:
        """Whether a rate can keep up and still not be good."""
        return bool(self.objectives)

    @classmethod
    def completed(cls, given: Mapping[str, object]) -> dict[str, object]:
        fields = with_lengths(given)
        if "duration_s" not in fields and "requests" not in fields:
            fields["duration_s"] = _DURATION_S
        if "rate" not in fields and "rates" not in fields:
            fields["rate"] = _RATE
        return fields

    def check(self) -> None:
        super().check()
        if (self.rate is None) == (self.rates is None):
            raise ValueError("a sweep workload needs `rate`, the lowest to try, or `rates`, all of them")
        if self.rate is not None and self.end_rate is not None and self.end_rate < self.rate:
            raise ValueError("a sweep workload's `end_rate` cannot be below its `rate`")
