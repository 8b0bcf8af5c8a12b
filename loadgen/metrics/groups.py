"""Figures of some of a trial's requests: those that reasoned, the turns of sessions, the parts of a mix."""

from __future__ import annotations

from typing import Any

import numpy as np

from loadgen.metrics.latencies import BoolArray, FloatArray
from loadgen.metrics.metrics import NO_GAPS, GapFigures, TrialMetrics
from loadgen.metrics.request_joules import RequestJoules
from loadgen.records.schema import Trial
from loadgen.workloads.base import Workload

FOUR = ("mean", "median", "std", "p99")
NO_OBJECTIVES = "it has no objectives"
NONE_GOOD = "no request of the window met every objective"
NOT_IN_FLIGHT = "no request of it was in flight in the window"


def cached_by_counter(trial: Trial, metrics: TrialMetrics) -> dict[str, Any]:
    """What the engine's own counter says of the prefix cache, for sessions whose usage does not."""
    cached, prompts = trial.server_prefix_hit_tokens, total(metrics.prompt_tokens)
    if not trial.workload.holds_sessions or cached is None or not prompts:
        return {}
    return {"total_cached_tokens": cached, "cached_share": cached / prompts}


def conversation_figures(metrics: TrialMetrics, joules: float | None, shared: RequestJoules) -> dict[str, Any]:
    """Of reasoning and of the prefix cache, where there are any.

    Of reasoning that the server counts and does not stream the tokens are known, and the times are null with a reason. Joules of
    reasoning and answers are the window's, shared by tokens; those of a reasoning token are the requests' own, shared by their
    output tokens. `cached_share` is of the prompt tokens of the requests whose cached ones the server counted.
    """
    found: dict[str, Any] = {}
    cached, share = metrics.cached_tokens, metrics.reasoning_share
    if share is not None:
        reasoning, output = total(metrics.reasoning_tokens) or 0, total(metrics.output_tokens) or 0
        found |= {"total_reasoning_tokens": reasoning, "total_answer_tokens": output - reasoning}
        found |= {"reasoning_share": share}
        found |= statistics("first_reasoning", metrics.first_reasoning_ms)
        found |= {"first_reasoning_reason": metrics.hidden_reasoning}
        found |= statistics("first_answer", metrics.first_answer_ms)
        found |= {
            "joules_of_reasoning": None if joules is None else joules * share,
            "joules_of_answers": None if joules is None else joules * (1 - share),
            "joules_per_reasoning_token": _per_reasoning_token(metrics, shared),
        }
    if np.isfinite(cached).any():
        found |= {"total_cached_tokens": total(cached), "cached_share": _cached_share(metrics, np.isfinite(cached))}
    return found


def turn_figures(metrics: TrialMetrics, shared: RequestJoules) -> list[dict[str, Any]]:
    """Of each turn of sessions, from the first; none of another load. See `_group`."""
    turns = metrics.turn
    numbers = range(int(np.nanmax(turns)) + 1) if np.isfinite(turns).any() else ()
    return [{"turn": n + 1, **_group(metrics, shared, n, turns == n, metrics.objectives[0])} for n in numbers]


def part_figures(workload: Workload, metrics: TrialMetrics, shared: RequestJoules) -> list[dict[str, Any]]:
    """Of each part of a mix, by its own objectives; none of another load. See `_group`."""
    return [
        {"part": name, **_group(metrics, shared, number, metrics.part == number, metrics.objectives[number])}
        for number, name in enumerate(workload.part_names)
    ]


def _per_reasoning_token(metrics: TrialMetrics, shared: RequestJoules) -> float | None:
    """Over the reasoning of completed requests that lie wholly in the window; its share of each one's output tokens has that of its joules."""
    chosen = metrics.completed & shared.whole & np.isfinite(shared.joules) & (metrics.reasoning_tokens > 0)
    reasoning = metrics.reasoning_tokens[chosen]
    joules = shared.joules[chosen] * reasoning / metrics.output_tokens[chosen]
    return float(joules.sum() / reasoning.sum()) if reasoning.size else None


def _group(
    metrics: TrialMetrics, shared: RequestJoules, number: int, chosen: BoolArray, objectives: dict[str, float]
) -> dict[str, Any]:
    """The figures of the requests chosen, which are the group of this number.

    Requests and tokens are credited as the whole load's, so that those of all groups add up to it. Latencies are over the
    completed requests of the window. `joules` are the shares of its requests in the window, failed ones included, and
    not metered apart; with those of the other groups and `unattributed_joules` they add up to the meter.
    `mean_request_joules` is over completed requests wholly in the window.
    """
    prompts = metrics.prompt_tokens[chosen & np.isfinite(metrics.prompt_tokens)]
    own = shared.of_requests(metrics.completed & chosen)
    shares = shared.joules[chosen & np.isfinite(shared.joules)]
    joules = float(shares.sum()) if shares.size else None
    reason = None if shares.size else shared.reason or NOT_IN_FLIGHT
    return {
        "requests": int(chosen.sum()),
        "failed": int((chosen & ~metrics.completed).sum()),
        "request_throughput": int((metrics.credited & chosen).sum()) / metrics.window_s,
        "output_throughput": float(metrics.arrived_tokens[chosen].sum()) / metrics.window_s,
        "mean_prompt_tokens": float(prompts.mean()) if prompts.size else None,
        "cached_share": _cached_share(metrics, chosen & np.isfinite(metrics.cached_tokens)),
        **statistics("ttft", metrics.ttft_ms[chosen]),
        **statistics("tpot", metrics.tpot_ms[chosen]),
        **gap_statistics(metrics.group_itl.get(number, NO_GAPS)),
        **statistics("e2el", metrics.e2e_ms[chosen]),
        "mean_request_joules": float(own.mean()) if own.size else None,
        "joules": joules,
        "joules_reason": reason,
        **_good_figures(metrics, joules, reason, chosen, objectives),
    }


def _good_figures(
    metrics: TrialMetrics, joules: float | None, reason: str | None, chosen: BoolArray, objectives: dict[str, float]
) -> dict[str, Any]:
    """Of the requests chosen that met their objectives, with the reasons of what is missing; `reason` is that of no joules."""
    good = metrics.good if objectives else None
    count = 0 if good is None else int((good & chosen).sum())
    missing = None if good is not None else metrics.tpot_reason if objectives else NO_OBJECTIVES
    return {
        "request_goodput": None if good is None else count / metrics.window_s,
        "good_share": None if good is None else metrics.good_share(chosen),
        "request_goodput_reason": missing,
        "joules_per_good_request": joules / count if joules is not None and count else None,
        "joules_per_good_request_reason": missing or reason or (None if count else NONE_GOOD),
    }


def _cached_share(metrics: TrialMetrics, chosen: BoolArray) -> float | None:
    prompts = float(np.nansum(metrics.prompt_tokens[chosen]))
    return float(np.nansum(metrics.cached_tokens[chosen])) / prompts if prompts else None


def statistics(name: str, values: FloatArray) -> dict[str, float | None]:
    """Mean, median, standard deviation and p99 of what was measured, under vLLM's names."""
    finite = values[np.isfinite(values)]
    found = (finite.mean(), np.median(finite), finite.std(), np.percentile(finite, 99)) if finite.size else (None,) * 4
    keys = (f"{which}_{name}_ms" for which in FOUR)
    return {key: None if value is None else float(value) for key, value in zip(keys, found, strict=True)}


def gap_statistics(gaps: GapFigures) -> dict[str, float | None]:
    """The same of the gaps before tokens."""
    found = (gaps.mean, gaps.percentiles.get(50), gaps.std, gaps.percentiles.get(99))
    return dict(zip((f"{which}_itl_ms" for which in FOUR), found, strict=True))


def total(tokens: FloatArray) -> int | None:
    """The sum of those that are known; None without any."""
    return int(np.nansum(tokens)) if np.isfinite(tokens).any() else None
