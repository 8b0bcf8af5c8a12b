"""Validity of one trial: whether the server kept up, and carried as many requests at once as were asked for."""

from __future__ import annotations

from loadgen.metrics.metrics import TrialMetrics
from loadgen.records.schema import Trial
from reports.checks.rules import Finding, graded, trial_rule

MISSED, MISSED_FAIL = 0.02, 0.10  # of the requests in flight that were asked for


@trial_rule(
    position=140,
    meaning="Requests piled up from when the server had filled to the last sending: it did not keep up, and latencies are those of a load of this length.",
    limits="Warns if the requests in flight grew beyond what chance does (95 %); requests/s and J/request are then of the requests that ended in the window. No data if too few arrived to tell. Open loops only.",
    remedy="Lower the rate; read requests/s as what the server completes at its limit, and no latency.",
    spoils=None,
)
def saturated(_trial: Trial, metrics: TrialMetrics) -> Finding | None:
    """Open loops: the trend of the requests in flight."""
    backlog = metrics.backlog
    if backlog is None:
        return None
    if backlog.stationary is None and not backlog.growing:
        return Finding("no data", backlog.reason or "too little to tell")
    words = f"in flight were {backlog.first_level:.3g} requests at first and {backlog.last_level:.3g} in the end"
    offered = f"{backlog.arrival_rate:.3g} requests/s were offered"
    return Finding("warn" if backlog.growing else "pass", f"{words}; {offered}")


@trial_rule(
    position=150,
    meaning="Fewer requests were in flight than the closed loop has, or the engine takes fewer at once, so the others waited in its queue.",
    limits="Requests in flight, averaged over the window: warns below 98 % of those asked for, fails below 90 %. Warns if the engine's max_num_seqs is below them. Closed loops; the second of batches, too.",
    remedy="Give the client more processes, make the load longer, or raise max_num_seqs.",
)
def concurrency_missed(trial: Trial, metrics: TrialMetrics) -> Finding | None:
    """Closed loops: the mean of the requests in flight."""
    asked = trial.workload.streams
    if asked is None:
        return None
    if not metrics.requests:
        return Finding("no data", "no request was recorded")
    reached = metrics.mean_in_flight
    words = f"{reached:.1f} requests were in flight on average, {asked:,} were asked for"
    return Finding(graded(1 - reached / asked, MISSED, MISSED_FAIL), words)


@trial_rule(
    position=160,
    meaning="The engine ran out of KV cache, threw requests out of its batch and computed them anew.",
    limits="By the change of the server's counter over the trial: warns at the first, fails above 1 % of the requests.",
    remedy="Lower the concurrency, or give the engine more cache; vLLM counts preemptions with disable_log_stats=false.",
)
def preempted_requests(trial: Trial, metrics: TrialMetrics) -> Finding:
    """The server's count of preemptions, for each request."""
    preempted = trial.server_preemptions
    if preempted is None or not metrics.requests:
        return Finding("no data", "the server does not count preemptions")
    if not preempted:
        return Finding("pass", "no request was thrown out of the batch")
    words = f"{preempted:,} preemptions in {metrics.requests:,} requests"
    return Finding(graded(preempted / metrics.requests, 0.0, 0.01), words)


@trial_rule(
    position=170,
    meaning="Ctrl-C ended the load: the records have what had ended by then, and lack the requests in flight, the longest among them.",
    limits="Warns if it was interrupted.",
    remedy="Measure again, with fewer requests or a shorter duration; read these figures as a first look.",
    spoils=None,
)
def load_interrupted(trial: Trial, metrics: TrialMetrics) -> Finding:
    """Whether Ctrl-C ended the load."""
    if not trial.interrupted:
        return Finding("pass", "the load ran to its end")
    return Finding(
        "warn",
        f"Ctrl-C ended the load when {metrics.requests:,} requests had ended; those in flight then are not in the records",
    )
