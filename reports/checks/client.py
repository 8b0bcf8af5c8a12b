"""Validity of one trial: whether the load client was busy or late."""

from __future__ import annotations

from base.figures import percent
from loadgen.metrics.latencies import percentiles
from loadgen.metrics.metrics import TrialMetrics
from loadgen.records.schema import Trial
from reports.checks.rules import Finding, Outcome, graded, trial_rule, worst

LATE_MS = 1.0  # shorter delays of the client are ignored
LATE_SHARE, LATE_SHARE_FAIL = 0.05, 0.5  # of the median TTFT
BUSY, BUSY_FAIL = 0.80, 0.95  # of one core


@trial_rule(position=120)
def client_saturated(trial: Trial, metrics: TrialMetrics) -> Finding:
    """The load client was busy or late, and its delay is part of the latencies.

    Limits: Warns above 80 % of a core, fails above 95 %. Lag of its timer, or of its reads behind the kernel minus its
    intended pause (p99), above 1 ms: warns from 5 % of the median TTFT, fails from 50 %. No data if no request had a
    first token.

    Remedy: Reserve a core for the client, or lower the load.
    """
    busy, lag, read = trial.client.cpu_fraction, trial.client.loop_lag_p99_ms, trial.client.read_lag_p99_ms
    if busy is None and lag is None and read is None:
        return Finding("no data", "the client's load was not recorded")
    outcomes: list[Outcome] = []
    words: list[str] = []
    if busy is not None:
        outcomes.append(graded(busy, BUSY, BUSY_FAIL))
        words.append(f"the client used {percent(busy)} of a core")
    if lag is not None:
        outcomes.append(_graded_by_ttft(lag, metrics))
        words.append(f"its timer was up to {lag:.1f} ms late (p99)")
    if read is not None:
        meant = trial.client.read_pause_ms
        outcomes.append(_graded_by_ttft(read - meant, metrics))
        words.append(f"it read up to {read:.1f} ms after the kernel (p99{f', {meant:g} ms intended' if meant else ''})")
    return Finding(worst(outcomes), " and ".join(words))


@trial_rule(position=130)
def schedule_lag(trial: Trial, metrics: TrialMetrics) -> Finding | None:
    """Requests of an open loop were sent later than scheduled, so the offered load was not the requested one.

    Limits: The p99 of sent - scheduled, above 1 ms: warns from 5 % of the median TTFT, fails from 50 %. Open loops
    only.

    Remedy: Lower the rate, or reserve a core for the client; use latencies from the scheduled time.
    """
    if not trial.workload.open_loop:
        return None
    lag = percentiles(metrics.lag_ms, [99]).get(99)
    if lag is None:
        return Finding("no data", "no request was sent")
    return Finding(_graded_by_ttft(lag, metrics), f"requests were sent up to {lag:.1f} ms late (p99)")


def _graded_by_ttft(late_ms: float, metrics: TrialMetrics) -> Outcome:
    """Grade a delay of the client by the median TTFT, which includes it."""
    typical = percentiles(metrics.ttft_ms[metrics.completed], [50]).get(50)
    if typical is None:
        return "no data"
    return graded(late_ms, max(LATE_MS, LATE_SHARE * typical), max(LATE_MS, LATE_SHARE_FAIL * typical))
