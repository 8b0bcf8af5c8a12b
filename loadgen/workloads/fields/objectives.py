"""Objectives of the goodput: the limits within which a request's times must stay to count as good."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from base.quantities import MILLISECONDS
from base.records import Record

OBJECTIVES = ("ttft", "tpot", "itl", "e2e")


class Objectives(Record):
    """The limits of a workload, or of a part of it, in milliseconds."""

    slo_ttft_ms: Annotated[float | None, MILLISECONDS] = Field(
        default=None, gt=0, description="Objective of the goodput: time to first token."
    )
    slo_tpot_ms: Annotated[float | None, MILLISECONDS] = Field(
        default=None, gt=0, description="Objective of the goodput: time per output token."
    )
    slo_itl_ms: Annotated[float | None, MILLISECONDS] = Field(
        default=None,
        gt=0,
        description="Objective of the goodput: the 99th percentile of a request's times between output tokens.",
    )
    slo_e2e_ms: Annotated[float | None, MILLISECONDS] = Field(
        default=None, gt=0, description="Objective of the goodput: time to the last token."
    )

    @property
    def objectives(self) -> dict[str, float]:
        """The limit of each time that has one, by its name in `OBJECTIVES`."""
        limits = {name: getattr(self, f"slo_{name}_ms") for name in OBJECTIVES}
        return {name: limit for name, limit in limits.items() if limit is not None}
