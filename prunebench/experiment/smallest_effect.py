"""What the blocks of a run can show, once the intervals are wide enough for the number of comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence

from base.records import Record
from loadgen.workloads.base import Workload
from reports.analysis.family import groups_of
from reports.analysis.quantities import JOULES
from reports.document.wording import smallest_effect
from reports.statistics.ratios import MARGIN
from reports.statistics.simultaneous import half_width

_EXAMPLE_SPREAD = 0.01  # of one block's ratio, as a standard deviation: that of a quiet machine


class FamilyForecast(Record):
    """The comparisons that the advice will rest on, and the half-width to expect of their intervals.

    `half_width` is in standard deviations of the logarithm of one block's ratio; None: no interval.
    """

    compared: int
    half_width: float | None

    @classmethod
    def of(cls, workloads: Sequence[Workload], configurations: int, blocks: int, *, joules: bool) -> FamilyForecast:
        """`configurations` besides the baseline; `joules`: whether they will be measured."""
        groups = [key for _, _, key in groups_of({w.name: w for w in workloads}) if key != JOULES or joules]
        compared = configurations * len(groups)
        return cls(
            compared=compared,
            half_width=half_width(blocks, configurations, len(groups)) if compared and blocks > 1 else None,
        )

    def words(self) -> str:
        """For people."""
        if self.half_width is None:
            return "no interval and no verdict: that takes two blocks and a configuration besides the baseline"
        effect = (1 + MARGIN) * math.exp(self.half_width * _EXAMPLE_SPREAD)
        return (
            f"the advice will rest on up to {self.compared} comparisons (speed, and joules where they are metered) whose intervals hold together at 95 %: each reaches "
            f"{self.half_width:.2f} standard deviations of one block's ratio to either side. If that deviation is "
            f"{100 * _EXAMPLE_SPREAD:g} %, {smallest_effect(effect)} at a margin of {100 * MARGIN:g} %; more blocks show smaller effects"
        )
