"""Validity of one trial: whether the load client was busy or late."""

from __future__ import annotations

from loadgen.metrics.latencies import percentiles
from loadgen.metrics.metrics import TrialMetrics
from loadgen.records.schema import Trial
from reports.checks.rules import Finding, Outcome, graded, trial_rule, worst

LATE_MS = 1.0  # delays of the client below this are never complained of
LATE_SHARE, LATE_SHARE_FAIL = 0.05, 0.5  # of the median TTFT
BUSY, BUSY_FAIL = 0.80, 0.95  # of one core


@trial_rule(
    position=120,
    meaning="The load client itself was busy or late, and its delay is part of the latencies.",
    limits="Warns above 80 % of a core, fails above 95 %; lag of its timer, or of its reads behind the kernel less the pause it means to make (p99), over 1 ms warns from 5 % of the median TTFT and fails from 50 %; no data if no request had a first token.",
    remedy="Give the client a core of its own, or lower the load.",
)
def client_saturated(trial: Trial, metrics: TrialMetrics) -> Finding:
    """The client's core, its timer and its reads, each by what was recorded of it."""
    busy, lag, read = trial.client.cpu_fraction, trial.client.loop_lag_p99_ms, trial.client.read_lag_p99_ms
    if busy is None and lag is None and read is None:
        return Finding("no data", "the client's load was not recorded")
    outcomes: list[Outcome] = []
    words: list[str] = []
    if busy is not None:
        outcomes.append(graded(busy, BUSY, BUSY_FAIL))
        words.append(f"the client used {busy:.0%} of a core")
    if lag is not None:
        outcomes.append(_graded_by_ttft(lag, metrics))
        words.append(f"its timer was up to {lag:.1f} ms late (p99)")
    if read is not None:
        meant = trial.client.read_pause_ms
        outcomes.append(_graded_by_ttft(read - meant, metrics))
        words.append(f"it read up to {read:.1f} ms after the kernel (p99{f', {meant:g} ms meant' if meant else ''})")
    return Finding(worst(outcomes), " and ".join(words))


@trial_rule(
    position=130,
    meaning="Requests of an open-loop workload left later than scheduled, so the offered load was not the one asked for.",
    limits="The p99 of sent - scheduled, over 1 ms: warns from 5 % of the median TTFT, fails from 50 %. Open loops only.",
    remedy="Lower the rate, or give the client a core of its own; read the latencies from the scheduled time.",
)
def schedule_lag(trial: Trial, metrics: TrialMetrics) -> Finding | None:
    """Open loops: the p99 of how late requests left."""
    if not trial.workload.open_loop:
        return None
    lag = percentiles(metrics.lag_ms, [99]).get(99)
    if lag is None:
        return Finding("no data", "no request was sent")
    return Finding(_graded_by_ttft(lag, metrics), f"requests left up to {lag:.1f} ms after their time (p99)")


def _graded_by_ttft(late_ms: float, metrics: TrialMetrics) -> Outcome:
    """A delay of the client, judged by the median TTFT that it is part of."""
    typical = percentiles(metrics.ttft_ms[metrics.completed], [50]).get(50)
    if typical is None:
        return "no data"
    return graded(late_ms, max(LATE_MS, LATE_SHARE * typical), max(LATE_MS, LATE_SHARE_FAIL * typical))
