"""The records of `prunebench plan`: the demand and the fleet for it, kept as `plan.json` in the run folder."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from base.records import Record
from loadgen.workloads.fields.lengths import Tokens

PLAN_NAME = "plan.json"
SECONDS_PER_DAY = 86_400


class Demand(Record):
    """The load to serve, and the prices of a kilowatt hour and a GPU in the user's currency."""

    requests_per_day: float = Field(gt=0)
    prompt_tokens: Tokens
    output_tokens: Tokens
    slo_ttft_ms: float | None = Field(default=None, gt=0)
    slo_tpot_ms: float | None = Field(default=None, gt=0)
    slo_share: float = Field(default=0.9, gt=0, lt=1)  # of requests that must meet every objective
    peak: float = Field(default=2.0, ge=1)  # rate of the busiest hour over the day's mean
    pue: float = Field(default=1.2, ge=1)  # energy of the site over the metered energy
    price_kwh: float | None = Field(default=None, ge=0)
    gpu_hour: float | None = Field(default=None, ge=0)
    carbon_g_per_kwh: float | None = Field(default=None, ge=0)
    gpus_per_replica: int = Field(default=1, ge=1)
    seed: int = 0

    @property
    def mean_rate(self) -> float:
        """Requests per second."""
        return self.requests_per_day / SECONDS_PER_DAY


class Estimate(Record):
    """A figure with its 95 % interval over blocks; None with the reason."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


class FleetRow(Record):
    """One configuration."""

    label: str
    width: int | None
    is_baseline: bool
    capacity_rps: Estimate  # requests per second of one replica within the objectives
    gpus: Estimate
    busy: Estimate  # share of the time in which a replica is busy, at the mean rate
    joules_per_request: Estimate  # metered energy including idle time, without PUE
    megawatts: Estimate  # of the site
    cost_per_day: Estimate
    kg_co2_per_day: Estimate
    # The source of the capacity; None in plans of earlier versions, whose capacity was not bounded by a backlog.
    basis: Literal["simulated, not measured", "measured"] | None = None


class FleetPlan(Record):
    """`plan.json` in the run folder."""

    demand: Demand
    rows: list[FleetRow]
    assumptions: list[str]
