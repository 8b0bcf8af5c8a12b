"""A check that the product has not: one decorated function is all of it."""

from __future__ import annotations

from loadgen.metrics.metrics import TrialMetrics
from loadgen.records.schema import Trial
from reports.checks.rules import Finding, trial_rule


@trial_rule(spoils="latency")
def odd_requests(_trial: Trial, metrics: TrialMetrics) -> Finding:
    """An odd number of requests cannot be split into halves.

    Limits: Warns if the number of requests is odd.

    Remedy: Raise the workload's requests by one.
    """
    return Finding("warn" if metrics.requests % 2 else "pass", f"{metrics.requests} requests")
