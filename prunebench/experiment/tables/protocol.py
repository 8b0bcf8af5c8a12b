"""`[protocol]` of an experiment file: blocks, warm-up and timeouts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from base.quantities import SECONDS
from base.records import Record
from loadgen import REQUEST_TIMEOUT_S
from reports.analysis.precision import EXAMPLE, Goal

_FEWEST, _MOST = 5, 20  # blocks of a run that decides their number


def _goal(text: str) -> str:
    Goal.parse(text)
    return text


class Protocol(Record):
    """Repeats: every block visits every configuration once, in a balanced order. With `until` there are as many as it takes, and
    configurations whose ratios are known are left out of later blocks.
    """

    blocks: int = Field(
        default=5,
        ge=1,
        description="Repeats; every block visits every configuration once. With `until` they are `min_blocks` at first.",
    )
    until: Annotated[str, AfterValidator(_goal)] | None = Field(
        default=None,
        description=f"Add blocks until the interval of every ratio to the baseline is this narrow, such as `{EXAMPLE}`; a "
        "quantity is a column of `cells.csv`, where `tpot` is `median_tpot_ms`. The intervals allow for the looks.",
    )
    min_blocks: int = Field(default=_FEWEST, ge=2, description="Of `until`: look after this number of blocks first;")
    max_blocks: int = Field(default=_MOST, ge=2, description="end after this number at the latest;")
    max_hours: float | None = Field(
        default=None, gt=0, description="and begin no block that would end later than this, in one attempt at the run."
    )
    cooldown_s: Annotated[float, SECONDS] = Field(
        default=0, ge=0, description="Rest before each trial, with its server idle."
    )
    steady_within: float = Field(
        default=0.05, gt=0, description="Warm up until the time per token changes by no more than this share;"
    )
    warmup_limit_s: Annotated[float, SECONDS] = Field(
        default=60, ge=0, description="or for this long. 0 sends the workload's `warmup_requests` and no more."
    )
    request_timeout_s: Annotated[float, SECONDS] = Field(
        default=REQUEST_TIMEOUT_S, gt=0, description="Time from sending a request to its end; a slower request fails."
    )

    @model_validator(mode="before")
    @classmethod
    def _begins_with_the_fewest(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("until") is not None:
            return {"blocks": data.get("min_blocks", _FEWEST)} | data
        return data

    @model_validator(mode="after")
    def _blocks_of_until(self) -> Protocol:
        if self.until is None:
            changed = {"min_blocks": _FEWEST, "max_blocks": _MOST, "max_hours": None}
            if key := next((key for key, default in changed.items() if getattr(self, key) != default), None):
                raise ValueError(f"`{key}` belongs to until, which is missing")
            return self
        if self.blocks != self.min_blocks:
            raise ValueError("`blocks`: with until give min_blocks and max_blocks instead")
        if self.max_blocks < self.min_blocks:
            raise ValueError(f"`max_blocks`: must be at least min_blocks, which is {self.min_blocks}")
        return self
