"""A finished trial in memory."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from energy.records import PowerTimeline
from loadgen.metrics.measuring.measure import measure_records
from loadgen.metrics.metrics import TrialMetrics
from loadgen.records.schema import Trial
from loadgen.records.table import Records


@dataclass(frozen=True)
class TrialResult:
    """A finished trial: what `loadgen.results.store` writes."""

    trial: Trial
    records: Records
    power: PowerTimeline = field(default_factory=lambda: PowerTimeline(meters=[]))
    stalled: bool = False  # the load was cut short: a request waited its whole timeout, and nothing ended meanwhile

    @functools.cached_property
    def metrics(self) -> TrialMetrics:
        """Its figures, computed once for checks, summary and sweep."""
        return measure_records(self.trial, self.records)
