"""Validity of one trial: whether the server kept up, and processed the requested concurrency."""

from __future__ import annotations

from base.figures import figure
from loadgen.metrics.metrics import TrialMetrics
from loadgen.records.schema import Trial
from reports.checks.rules import Finding, graded, trial_rule

MISSED, MISSED_FAIL = 0.02, 0.10  # of the requested concurrency


@trial_rule(position=140, spoils=None)
def saturated(_trial: Trial, metrics: TrialMetrics) -> Finding | None:
    """The backlog grew from when the server had filled until the last request was sent: the server did not keep up, and
    its latencies hold only for a load of this length.

    Limits: Warns if the requests in flight grew beyond chance (95 %); requests/s and J/request then count the requests
    that ended in the window. No data if too few requests arrived. Open loops only.

    Remedy: Lower the rate. Use requests/s as the server's throughput at its limit, and do not use its latencies.
    """
    backlog = metrics.backlog
    if backlog is None:
        return None
    first, last = backlog.first_level, backlog.last_level
    if first is None or last is None or (backlog.stationary is None and not backlog.growing):
        return Finding("no data", backlog.reason or "too few requests arrived")
    words = f"{figure(first)} requests were in flight at first and {figure(last)} at the end"
    offered = f"{figure(backlog.arrival_rate)} requests/s were offered"
    return Finding("warn" if backlog.growing else "pass", f"{words}; {offered}")


@trial_rule(position=150)
def concurrency_missed(trial: Trial, metrics: TrialMetrics) -> Finding | None:
    """Fewer requests were in flight than the closed loop's concurrency, or the engine's batch is smaller and the other
    requests waited in its queue.

    Limits: Requests in flight, averaged over the window: warns below 98 % of the concurrency, fails below 90 %. Warns
    if the engine's max_num_seqs is below the concurrency. Closed loops; the second also for batches.

    Remedy: Give the client more processes, make the load longer, or raise max_num_seqs.
    """
    asked = trial.workload.streams
    if asked is None:
        return None
    if not metrics.requests:
        return Finding("no data", "no request was recorded")
    reached = metrics.mean_in_flight
    shown = f"{reached:,.0f}" if reached >= 1_000 else figure(reached)  # every digit that the limits can rest on
    words = f"{shown} of {asked:,} requests were in flight on average"
    return Finding(graded(1 - reached / asked, MISSED, MISSED_FAIL), words)


@trial_rule(position=160)
def preempted_requests(trial: Trial, metrics: TrialMetrics) -> Finding:
    """The engine ran out of KV cache, preempted requests and computed them again.

    Limits: By the increase of the server's counter over the trial: warns at the first preemption, fails above 1 % of
    the requests.

    Remedy: Lower the concurrency, or give the engine more cache. vLLM counts preemptions with disable_log_stats=false.
    """
    preempted = trial.server_preemptions
    if preempted is None or not metrics.requests:
        return Finding("no data", "the server does not count preemptions")
    if not preempted:
        return Finding("pass", "no request was preempted")
    words = f"{preempted:,} preemptions in {metrics.requests:,} requests"
    return Finding(graded(preempted / metrics.requests, 0.0, 0.01), words)


@trial_rule(position=170, spoils=None)
def load_interrupted(trial: Trial, metrics: TrialMetrics) -> Finding:
    """Ctrl-C ended the load. Nothing more was sent; the records hold the requests that ended within two seconds and lack the
    others, which include the longest.

    Limits: Warns if it was interrupted.

    Remedy: Measure again, with fewer requests or a shorter duration; use these figures only as a first estimate.
    """
    if not trial.interrupted:
        return Finding("pass", "the load ran to its end")
    return Finding(
        "warn",
        f"Ctrl-C ended the load after {metrics.requests:,} requests; the records lack those that took two seconds more",
    )
