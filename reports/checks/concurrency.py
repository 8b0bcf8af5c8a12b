"""Validity of one trial: whether the server carried as many requests at once as were asked for."""

from __future__ import annotations

from collections.abc import Callable

from loadgen.metrics.metrics import TrialMetrics
from loadgen.records.schema import Trial
from reports.checks.rules import Finding, graded

MISSED, MISSED_FAIL = 0.02, 0.10  # of the requests in flight that were asked for


def _concurrency_missed(trial: Trial, metrics: TrialMetrics) -> Finding | None:
    if trial.workload.kind != "concurrency" or trial.workload.concurrency is None:
        return None
    asked = trial.workload.concurrency
    if not metrics.requests:
        return Finding("no data", "no request was recorded")
    reached = metrics.mean_in_flight
    words = f"{reached:.1f} requests were in flight on average, {asked:,} were asked for"
    return Finding(graded(1 - reached / asked, MISSED, MISSED_FAIL), words)


def _preempted_requests(trial: Trial, metrics: TrialMetrics) -> Finding:
    preempted = trial.server_preemptions
    if preempted is None or not metrics.requests:
        return Finding("no data", "the server does not count preemptions")
    if not preempted:
        return Finding("pass", "no request was thrown out of the batch")
    words = f"{preempted:,} preemptions in {metrics.requests:,} requests"
    return Finding(graded(preempted / metrics.requests, 0.0, 0.01), words)


def _load_interrupted(trial: Trial, metrics: TrialMetrics) -> Finding:
    if not trial.interrupted:
        return Finding("pass", "the load ran to its end")
    return Finding(
        "warn",
        f"Ctrl-C ended the load when {metrics.requests:,} requests had ended; those in flight then are not in the records",
    )


LOAD_RULES: dict[str, Callable[[Trial, TrialMetrics], Finding | None]] = {
    "concurrency-missed": _concurrency_missed,
    "preempted-requests": _preempted_requests,
    "load-interrupted": _load_interrupted,
}
