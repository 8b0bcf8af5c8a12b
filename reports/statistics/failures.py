"""Failed requests in comparisons: a latency is not compared if one side failed more of its requests than the other.

Latencies rank a failed request above any measured one (`loadgen.metrics.latencies`), so a percentile among the failures has no value.
Two sides with different failure shares may still both have values, mostly of completed requests; those must not be compared.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reports.statistics.confidence import CONFIDENCE
from reports.statistics.ratios import Comparison

AMONG_FAILED = "it lands among the failed requests, above any latency that was measured"
_EQUAL = 1e-7  # relative, of probabilities
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

    Failures in bursts reject more often, which can withhold a verdict but never produce one.
    """
    if own.failed == other.failed == 0:
        return False
    return fisher_p(own, other) < 1 - CONFIDENCE


def fisher_p(own: Failures, other: Failures) -> float:
    """The two-sided p-value: how probable the tables with the same margins are that are no more probable than this one.

    Of the tables equally probable but for rounding, all count, as in R's fisher.test.
    """
    failed = own.failed + other.failed
    fewest, most = max(0, failed - other.requests), min(failed, own.requests)
    k = np.arange(fewest, most, dtype=float)  # of the failed requests, those that are `own`
    steps = np.log((own.requests - k) * (failed - k) / ((k + 1) * (other.requests - failed + k + 1)))
    logs = np.concatenate([[0.0], np.cumsum(steps)])
    chances = np.exp(logs - logs.max())
    return float(chances[logs <= logs[own.failed - fewest] + _EQUAL].sum() / chances.sum())


def judge_failures(found: Comparison, own: Failures, other: Failures, *, among_failed: bool) -> Comparison:
    """The comparison of a latency, without interval and verdict if failures forbid them.

    They do if a percentile of either side is among the failed requests (the ratio then lacks the slowest trials), if the shares
    differ beyond chance, or if the faster side failed more often than the other and in more than `TOLERATED` of its requests
    (few requests cannot show that the shares differ).
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
