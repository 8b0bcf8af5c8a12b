"""Validity of one trial: its requests, its warm-up and its window."""

from __future__ import annotations

import numpy as np

from loadgen.metrics.latencies import FloatArray
from loadgen.metrics.metrics import TrialMetrics
from loadgen.metrics.settling import settling
from loadgen.records.schema import Trial, WarmUp
from reports.checks.rules import Finding, graded, trial_rule, worst

ENOUGH_GENERATIONS = 4


@trial_rule(
    position=20,
    meaning="Requests failed. What they cost stays in the joules; in every latency they rank above any that was measured.",
    limits="Warns at the first failed request, fails above 1 % of them, or if none was measured.",
    remedy="Look at the first error; lower the load, or raise the request timeout.",
)
def failed_requests(_trial: Trial, metrics: TrialMetrics) -> Finding:
    """The requests without an answer, with the first error."""
    failed = int((~metrics.completed).sum())
    if not metrics.requests:
        return Finding("fail", "no request was measured")
    if not failed:
        return Finding("pass", f"all {metrics.requests:,} requests completed")
    outcome = graded(failed / metrics.requests, 0.0, 0.01)
    return Finding(
        outcome, f"{failed:,} of {metrics.requests:,} requests failed, the first with: {metrics.first_error}"
    )


@trial_rule(
    position=30,
    meaning="Requests wrote another number of tokens than the others, so times and joules per request compare lengths, not widths.",
    limits="Fixed lengths: fails if any request wrote another number than asked. Natural stop: warns if a configuration's mean length is over 5 % from the baseline's.",
    remedy="Serve with an engine that honours ignore_eos, or compare per token only.",
    spoils="latency",
)
def output_length_differs(trial: Trial, metrics: TrialMetrics) -> Finding | None:
    """Fixed lengths: every request's tokens against those it was asked for."""
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


@trial_rule(
    position=100,
    meaning="The time per token was still changing when the measured window began, so that its mean is not that of a steady server.",
    limits="Warns if the line through the last half of the warm-up's groups, at least three, changes by more than protocol.steady_within. Warns too if early generations of the window differ from late ones beyond chance (95 %) and the window's mean is off by more than 0.5 %: closed loops of at least 6 generations; the finding says which shift would have shown with 90 %.",
    remedy="Raise protocol.warmup_limit_s, or the workload's warmup_requests and requests; find out what else runs on the machine.",
    spoils=None,
)
def warm_up_unsteady(trial: Trial, metrics: TrialMetrics) -> Finding:
    """The warm-up as it ended, and the generations of the window: what the first left over shows in the second."""
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


@trial_rule(
    position=110,
    meaning="A closed loop's window holds few generations, each as many ends as the loop has streams: what differs from one to the next weighs in every figure.",
    limits="Warns below four generations; fails below one: the whole load is then taken, with the ramps in which the loop is not full, and no verdict rests on the trial. Closed loops only.",
    remedy="Raise the workload's requests to six times its concurrency or more, or its duration_s.",
    spoils=None,
)
def few_generations(trial: Trial, _metrics: TrialMetrics) -> Finding | None:
    """Closed loops: how often the window holds the loop's concurrency."""
    if trial.workload.streams is None:
        return None
    whole = trial.generations
    if whole is None:
        return Finding("no data", "the window was cut by rules that count no generations")
    if whole < 1:
        return Finding("fail", "the loop was full for less than a generation: the whole load was taken")
    words = f"the window holds {whole} generation{'s' * (whole != 1)} of {trial.workload.streams} requests"
    return Finding("warn" if whole < ENOUGH_GENERATIONS else "pass", words)
