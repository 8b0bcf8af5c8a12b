"""Validity of one trial: its requests, its warm-up and its window."""

from __future__ import annotations

import numpy as np

from base.figures import percent
from loadgen.metrics.latencies import FloatArray
from loadgen.metrics.metrics import TrialMetrics
from loadgen.metrics.settling import settling
from loadgen.records.schema import Trial, WarmUp
from reports.checks.rules import Finding, graded, trial_rule, worst

ENOUGH_GENERATIONS = 4


@trial_rule(position=20)
def failed_requests(_trial: Trial, metrics: TrialMetrics) -> Finding:
    """Requests failed. Their energy stays in the joules, and every latency percentile ranks them above any measured
    value.

    Limits: Warns at the first failed request; fails if more than 1 % failed, or if no request was measured.

    Remedy: Look at the first error; lower the load, or raise the request timeout.
    """
    failed = metrics.failed
    if not metrics.requests:
        return Finding("fail", "no request was measured")
    if not failed:
        return Finding("pass", f"all {metrics.requests:,} requests completed")
    outcome = graded(failed / metrics.requests, 0.0, 0.01)
    return Finding(
        outcome, f"{failed:,} of {metrics.requests:,} requests failed, the first with: {metrics.first_error}"
    )


@trial_rule(position=30, spoils="latency")
def output_length_differs(trial: Trial, metrics: TrialMetrics) -> Finding | None:
    """Requests wrote different numbers of tokens, so times and joules per request compare output lengths, not widths.

    Limits: Fixed lengths: fails if any request wrote a different number of tokens than requested. Natural stop: warns
    if a configuration's mean length differs from the baseline's by more than 5 %.

    Remedy: Serve with an engine that honours ignore_eos, or compare per token only. Some servers end a request when the
    next one comes: llama-cpp-python's does unless it is started with --interrupt_requests False.
    """
    if trial.workload.natural_stop:
        return None  # the model chooses the lengths; `reports.checks.run` compares them between configurations
    asked, written = metrics.asked_tokens[metrics.completed], metrics.output_tokens[metrics.completed]
    if not (np.isfinite(written).any() and np.isfinite(asked).any()):
        return Finding("no data", "no request has both an output length and a requested one")
    other = written[written != asked]
    if other.size == 0:
        return Finding("pass", f"every request wrote the requested {_in_words(asked)} tokens")
    uncounted = int(np.isnan(other).sum())
    what = "without a count" if uncounted == other.size else f"{np.nanmin(other):.0f} to {np.nanmax(other):.0f}"
    cut = (
        f"; {metrics.no_reason:,} ended without a finish_reason: the server cut them short" if metrics.no_reason else ""
    )
    return Finding(
        "fail", f"{other.size:,} of {written.size:,} requests did not write {_in_words(asked)} tokens ({what}){cut}"
    )


def _in_words(lengths: FloatArray) -> str:
    low, high = np.nanmin(lengths), np.nanmax(lengths)
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"


@trial_rule(position=100, spoils=None)
def warm_up_unsteady(trial: Trial, metrics: TrialMetrics) -> Finding:
    """The time per token was still changing when the measured window began, so the window's mean is not that of a
    steady server.

    Limits: Warns if the line through the last half of the warm-up's groups (at least three) changes by more than
    protocol.steady_within. Also warns if early generations of the window differ from late ones beyond chance (95 %) and
    shift the window's mean by more than 0.5 %. That needs a closed loop of at least 6 generations; the finding gives
    the shift that it would have detected with 90 % probability.

    Remedy: Raise protocol.warmup_limit_s, or the workload's warmup_requests and requests; check what else runs on the
    machine.
    """
    found = [each for each in (_warm_up_ended(trial.warmup), _window_settled(metrics)) if each is not None]
    if not found:
        return Finding(
            "no data", "the warm-up had a fixed number of requests, and the window has no generations to compare"
        )
    return Finding(worst([each.outcome for each in found]), "; ".join(each.reason for each in found))


def _warm_up_ended(warmup: WarmUp | None) -> Finding | None:
    if warmup is None or warmup.steady is None:
        return None
    after = f"after {warmup.requests:,} requests in {warmup.seconds:.1f} s"
    change = (
        f"the time per token changed by {percent(warmup.change, signed=True)} over the last groups"
        if warmup.change is not None
        else ""
    )
    if warmup.steady:
        return Finding("pass", f"steady {after}: {change}")
    return Finding("warn", f"not steady {after}: {change}")


def _window_settled(metrics: TrialMetrics) -> Finding | None:
    seen = settling(metrics.generation_ms)
    if seen is None:
        return None
    if seen.found:
        words = f"a transient at the start of the window shifted its mean time per token by {percent(seen.shift, signed=True)}"
        return Finding("warn", f"{words} ({seen.generations} generations)")
    return Finding(
        "pass",
        f"no transient in {seen.generations} generations of the window; a shift of its mean by {percent(seen.visible)} would have been detected",
    )


@trial_rule(position=110, spoils=None)
def few_generations(trial: Trial, _metrics: TrialMetrics) -> Finding | None:
    """A closed loop's window holds few generations. A generation is one completion for each of the loop's streams, and
    the differences between generations affect every figure.

    Limits: Warns below four generations; fails below one, where the window is the whole load with the ramps in which
    the loop is not full, and no verdict rests on the trial. Closed loops only.

    Remedy: Raise the workload's requests to six times its concurrency or more, or its duration_s.
    """
    if trial.workload.streams is None:
        return None
    whole = trial.generations
    if whole is None:
        return Finding("no data", "the window was cut by an earlier rule, which counts no generations")
    if whole < 1:
        return Finding("fail", "the loop was full for less than a generation: the window is the whole load")
    words = f"the window holds {whole} generation{'s' * (whole != 1)} of {trial.workload.streams} requests"
    return Finding("warn" if whole < ENOUGH_GENERATIONS else "pass", words)
