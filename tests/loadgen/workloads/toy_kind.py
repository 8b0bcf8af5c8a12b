"""A kind of workload that the product does not have, in one class; one call of `register` makes it known."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from loadgen.workloads.open_loop import OpenLoop


class PulseLoad(OpenLoop):
    """A number of requests together, again and again."""

    kind: Literal["pulse"] = "pulse"
    pulse: int = Field(ge=1, description="Requests in a pulse.")
    every_s: float = Field(default=1.0, gt=0, description="Seconds between pulses.")

    def moments(self, seed: int) -> Iterator[float]:
        return (n // self.pulse * self.every_s for n in itertools.count())

    @property
    def words(self) -> str:
        return f"{self.pulse} requests every {self.every_s:g} s"
