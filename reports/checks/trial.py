"""Validity of one trial: every rule that its own records can decide. `reports.checks.run` has those that need the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from loadgen.metrics.latencies import FloatArray, percentiles
from loadgen.metrics.metrics import TrialMetrics, measure_records
from loadgen.metrics.settling import settling
from loadgen.records.schema import Flag, RequestRecord, Trial, WarmUp
from reports.checks.concurrency import LOAD_RULES
from reports.checks.energy import ENERGY_RULES
from reports.checks.rules import SEVERITY, Finding, Outcome, graded

LATE_MS = 1.0  # delays of the client below this are never complained of
LATE_SHARE, LATE_SHARE_FAIL = 0.05, 0.5  # of the median TTFT
ENOUGH_GENERATIONS = 4
BUSY, BUSY_FAIL = 0.80, 0.95  # of one core


def check_trial(trial: Trial, records: Sequence[RequestRecord]) -> list[Flag]:
    """The rules that warn or fail on one trial, without the rest of the run."""
    findings = find_in_trial(trial, measure_records(trial, records))
    return [
        Flag(check=name, outcome=finding.outcome, reason=finding.reason)
        for name, finding in findings.items()
        if finding.outcome in {"warn", "fail"}
    ]


def find_in_trial(trial: Trial, metrics: TrialMetrics) -> dict[str, Finding]:
    """Rule -> what it found; rules that do not apply to this kind of workload are absent."""
    found = {name: rule(trial, metrics) for name, rule in TRIAL_RULES.items()}
    return {name: finding for name, finding in found.items() if finding is not None}


def _failed_requests(_trial: Trial, metrics: TrialMetrics) -> Finding:
    failed = int((~metrics.completed).sum())
    if not metrics.requests:
        return Finding("fail", "no request was measured")
    if not failed:
        return Finding("pass", f"all {metrics.requests:,} requests completed")
    outcome = graded(failed / metrics.requests, 0.0, 0.01)
    return Finding(
        outcome, f"{failed:,} of {metrics.requests:,} requests failed, the first with: {metrics.first_error}"
    )


def _output_length_differs(trial: Trial, metrics: TrialMetrics) -> Finding | None:
    if trial.workload.natural_stop:
        return None  # lengths are the model's own there: compared between configurations by the run's rule
    asked, written = metrics.asked_tokens[metrics.completed], metrics.output_tokens[metrics.completed]
    if not (np.isfinite(written).any() and np.isfinite(asked).any()):
        return Finding("no data", "no request says how many tokens it wrote, or was asked for")
    other = written[written != asked]
    if other.size == 0:
        return Finding("pass", f"every request wrote the {_in_words(asked)} tokens it was asked for")
    uncounted = int(np.isnan(other).sum())
    what = "without a count" if uncounted == other.size else f"{np.nanmin(other):.0f} to {np.nanmax(other):.0f}"
    return Finding(
        "fail", f"{other.size:,} of {written.size:,} requests did not write {_in_words(asked)} tokens ({what})"
    )


def _in_words(lengths: FloatArray) -> str:
    low, high = np.nanmin(lengths), np.nanmax(lengths)
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"


def _warm_up_unsteady(trial: Trial, metrics: TrialMetrics) -> Finding:
    """The warm-up as it ended, and the generations of the window: what the first left over shows in the second."""
    found = [each for each in (_warm_up_ended(trial.warmup), _window_settled(metrics)) if each is not None]
    if not found:
        return Finding(
            "no data", "the warm-up had a fixed number of requests, and the window has no generations to compare"
        )
    return Finding(_worst([each.outcome for each in found]), "; ".join(each.reason for each in found))


def _warm_up_ended(warmup: WarmUp | None) -> Finding | None:
    if warmup is None or warmup.steady is None:
        return None
    after = f"after {warmup.requests:,} requests in {warmup.seconds:.1f} s"
    change = (
        f"the time per token changed by {warmup.change:+.1%} over the last groups" if warmup.change is not None else ""
    )
    if warmup.steady:
        return Finding("pass", f"steady {after}: {change}")
    return Finding("warn", f"not steady {after}: {change}")


def _window_settled(metrics: TrialMetrics) -> Finding | None:
    seen = settling(metrics.generation_ms)
    if seen is None:
        return None
    if seen.found:
        words = f"a transient at its beginning moved the window's mean time per token by {seen.shift:+.1%}"
        return Finding("warn", f"{words} ({seen.generations} generations)")
    return Finding(
        "pass",
        f"no transient in {seen.generations} generations of the window; one that moved its mean by {seen.visible:.1%} would have shown",
    )


def _few_generations(trial: Trial, _metrics: TrialMetrics) -> Finding | None:
    if trial.workload.kind != "concurrency":
        return None
    whole = trial.generations
    if whole is None:
        return Finding("no data", "the window was cut by rules that count no generations")
    if whole < 1:
        return Finding("fail", "the loop was full for less than a generation: the whole load was taken")
    words = f"the window holds {whole} generation{'s' * (whole != 1)} of {trial.workload.concurrency} requests"
    return Finding("warn" if whole < ENOUGH_GENERATIONS else "pass", words)


def _client_saturated(trial: Trial, metrics: TrialMetrics) -> Finding:
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
    return Finding(_worst(outcomes), " and ".join(words))


def _schedule_lag(trial: Trial, metrics: TrialMetrics) -> Finding | None:
    if not trial.workload.open_loop:
        return None
    lag = percentiles(metrics.lag_ms, [99]).get(99)
    if lag is None:
        return Finding("no data", "no request was sent")
    return Finding(_graded_by_ttft(lag, metrics), f"requests left up to {lag:.1f} ms after their time (p99)")


def _saturated(_trial: Trial, metrics: TrialMetrics) -> Finding | None:
    backlog = metrics.backlog
    if backlog is None:
        return None
    if backlog.stationary is None and not backlog.growing:
        return Finding("no data", backlog.reason or "too little to tell")
    words = f"in flight were {backlog.first_level:.3g} requests at first and {backlog.last_level:.3g} in the end"
    offered = f"{backlog.arrival_rate:.3g} requests/s were offered"
    return Finding("warn" if backlog.growing else "pass", f"{words}; {offered}")


def _tokens_disagree(trial: Trial, metrics: TrialMetrics) -> Finding:
    counts = [count for count in (_usage_and_stream(metrics), _server_and_records(trial, metrics)) if count is not None]
    if not counts:
        return Finding("no data", "there is no second count of the tokens")
    worst = _worst([count.outcome for count in counts])
    return Finding(worst, "; ".join(count.reason for count in counts if count.outcome == worst))


def _usage_and_stream(metrics: TrialMetrics) -> Finding | None:
    """Chunks without counts of their own are made to add up to the total when they are recorded: no second count."""
    if metrics.counted_by != {"server-continuous-usage"}:
        return None
    counted, streamed = metrics.output_tokens, metrics.streamed_tokens
    both = metrics.completed & np.isfinite(counted) & np.isfinite(streamed)
    if not both.any():
        return None
    requests, unlike = int(both.sum()), int((counted[both] != streamed[both]).sum())
    if not unlike:
        return Finding("pass", f"usage and stream agree on {counted[both].sum():,.0f} tokens")
    words = f"in {unlike:,} of {requests:,} requests the tokens streamed are not those of the server's usage"
    return Finding(graded(unlike / requests, 0.0, 0.01), words)


def _server_and_records(trial: Trial, metrics: TrialMetrics) -> Finding | None:
    """A failed request goes on in the server unseen for a while, and so do those in flight when a load was interrupted: only
    completed trials are held against its counter.
    """
    server, total = trial.server_generated_tokens, float(metrics.output_tokens.sum())
    if server is None or trial.interrupted or not metrics.completed.all() or not total > 0:
        return None
    off = server / total - 1
    if not off:
        return Finding("pass", f"the server's counter and the records agree on {total:,.0f} tokens")
    words = f"the server's counter has {server:,} tokens, the records {total:,.0f} ({off:+.1%})"
    return Finding(graded(abs(off), 0.0, 0.01), words)


def _multi_token_chunks(_trial: Trial, metrics: TrialMetrics) -> Finding:
    if not metrics.chunks:
        return Finding("no data", "no chunk arrived")
    if metrics.tpot_reason is not None:
        return Finding("warn", f"no TPOT and no ITL: {metrics.tpot_reason}")
    if "chunks" in metrics.counted_by:
        return Finding("warn", "the server sends no usage: each chunk was taken for one token")
    per_chunk = float(np.nansum(metrics.streamed_tokens)) / metrics.chunks
    return Finding(graded(per_chunk, 1.05, float("inf")), f"{per_chunk:.2f} tokens a chunk")


def _prefix_cache_hits(trial: Trial, metrics: TrialMetrics) -> Finding:
    hits, prompts = trial.server_prefix_hit_tokens, float(np.nansum(metrics.prompt_tokens))
    if hits is None:
        return Finding("no data", "the server does not say what its prefix cache gave")
    if not hits:
        return Finding("pass", "no prompt token came from a prefix cache")
    if not prompts:
        return Finding("warn", f"{hits:,} prompt tokens came from the prefix cache, of an unknown number")
    share = hits / prompts
    return Finding(graded(share, 0.0, 0.05), f"{hits:,} prompt tokens ({share:.0%}) came from the prefix cache")


def _worst(outcomes: Sequence[Outcome]) -> Outcome:
    return max(outcomes, key=SEVERITY.__getitem__)


def _graded_by_ttft(late_ms: float, metrics: TrialMetrics) -> Outcome:
    """A delay of the client, judged by the median TTFT that it is part of."""
    typical = percentiles(metrics.ttft_ms[metrics.completed], [50]).get(50)
    if typical is None:
        return "no data"
    return graded(late_ms, max(LATE_MS, LATE_SHARE * typical), max(LATE_MS, LATE_SHARE_FAIL * typical))


TRIAL_RULES: dict[str, Callable[[Trial, TrialMetrics], Finding | None]] = {
    "failed-requests": _failed_requests,
    "output-length-differs": _output_length_differs,
    "warm-up-unsteady": _warm_up_unsteady,
    "few-generations": _few_generations,
    "client-saturated": _client_saturated,
    "schedule-lag": _schedule_lag,
    "saturated": _saturated,
    "tokens-disagree": _tokens_disagree,
    "multi-token-chunks": _multi_token_chunks,
    "prefix-cache-hits": _prefix_cache_hits,
    **LOAD_RULES,
    **ENERGY_RULES,
}
