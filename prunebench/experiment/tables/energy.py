"""`[energy]` of an experiment file: which meter, idle power, and the grid's carbon."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from base.quantities import SECONDS
from base.records import Record
from energy.carbon import Intensity, read_intensity


class EnergySettings(Record):
    """Which meter, and what joules weigh. Modelled energy needs its assumption stated; it never shares a column with measured energy."""

    source: str = Field(default="auto", description="`auto`, `none`, `local`, or the URL of a server with `/energy`.")
    modelled_watts_per_core: float | None = Field(
        default=None, gt=0, description="The assumption that modelled energy rests on; without it there is none."
    )
    idle_s: Annotated[float, SECONDS] = Field(
        default=30,
        ge=0,
        description="Idle power is measured for this long before a configuration's loads, and after them, over all blocks.",
    )
    carbon: float | Path | None = Field(
        default=None,
        description="Grams of CO2 for a kWh of the grid, or a .csv or .json file with `time` and `g_per_kwh`; without it there is no mass.",
    )
    carbon_source: str | None = Field(default=None, description="Where `carbon` is from, for the report.")

    @model_validator(mode="after")
    def _source_of_something(self) -> EnergySettings:
        if self.carbon is None and self.carbon_source is not None:
            raise ValueError("`carbon_source` belongs to carbon, which is missing")
        return self

    def intensity(self) -> Intensity | None:
        """The stated intensity of the grid. Raises CarbonError for a file that cannot be used."""
        return None if self.carbon is None else read_intensity(f"{self.carbon}", self.carbon_source, "energy.carbon")
