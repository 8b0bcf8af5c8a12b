"""Failed requests in comparisons: a latency is not compared where one side dropped more of its requests than the other.

Latencies rank a failed request above any (`loadgen.metrics.latencies`), so a percentile can land among the failures; then it has no
number. What is left is the comparison of numbers that two sides of unlike failure shares do have: of completed requests mostly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reports.statistics.confidence import CONFIDENCE
from reports.statistics.ratios import Comparison

AMONG_FAILED = "it lands among the failed requests, above any latency that was measured"
TOLERATED = 0.01  # of requests; the check failed-requests fails above it


class Failures(NamedTuple):
    """Failed requests of `requests`."""

    failed: int
    requests: int

    @property
    def share(self) -> float:
        """Of the requests; 0 of none."""
        return self.failed / self.requests if self.requests else 0.0

    def __str__(self) -> str:
        return f"{self.failed:,} of {self.requests:,}"


def shares_differ(own: Failures, other: Failures) -> bool:
    """Whether the shares differ beyond chance: Fisher's exact test, two-sided, at 5 %.

    Failures that come in bursts reject more often than that, which withholds a verdict and never gives one.
    """
    if own.failed == other.failed == 0:
        return False
    import scipy

    table = np.array([[side.failed, side.requests - side.failed] for side in (own, other)])
    return float(scipy.stats.fisher_exact(table).pvalue) < 1 - CONFIDENCE


def judge_failures(found: Comparison, own: Failures, other: Failures, *, among_failed: bool) -> Comparison:
    """The comparison of a latency, without an interval and a verdict where failures forbid them.

    They do where a percentile of either side lands among the failed (its trials are missing from the ratio, and they are the
    slow ones), where the shares differ beyond chance, and where the faster side has failed more often than the other and in
    more than `TOLERATED` of its requests: few requests cannot show that the shares differ.
    """
    faster, slower = (own, other) if found.ratio is not None and found.ratio < 1 else (other, own)
    reason = None
    if among_failed:
        reason = f"in some trials {AMONG_FAILED}: {own} requests failed, of the baseline's {other}"
    elif shares_differ(own, other):
        reason = f"the shares of failed requests differ ({own} against {other})"
    elif found.ratio is not None and faster.share > max(TOLERATED, slower.share):
        reason = f"of the faster, more requests failed than a verdict allows ({own} against {other})"
    if reason is None:
        return found
    if among_failed:
        return Comparison(margin=found.margin, reason=reason)
    return Comparison(ratio=found.ratio, ratios=found.ratios, margin=found.margin, reason=reason)
