"""Figures of some of a trial's requests: those that reasoned, the turns of sessions, the parts of a mix."""

from __future__ import annotations

from typing import Any

import numpy as np

from loadgen.metrics.latencies import BoolArray, FloatArray
from loadgen.metrics.metrics import TrialMetrics
from loadgen.metrics.request_joules import RequestJoules
from loadgen.records.schema import Trial
from loadgen.workloads.base import Workload

FOUR = ("mean", "median", "std", "p99")


def cached_by_counter(trial: Trial, metrics: TrialMetrics) -> dict[str, Any]:
    """What the engine's own counter says of the prefix cache, for sessions whose usage does not."""
    cached, prompts = trial.server_prefix_hit_tokens, total(metrics.prompt_tokens)
    if not trial.workload.holds_sessions or cached is None or not prompts:
        return {}
    return {"total_cached_tokens": cached, "cached_share": cached / prompts}


def conversation_figures(metrics: TrialMetrics, joules: float | None, shared: RequestJoules) -> dict[str, Any]:
    """Of reasoning, of the prefix cache and of each turn of sessions, where there are any.

    Joules of reasoning and answers are the window's, shared by tokens; those of a reasoning token are the requests' own, shared
    by their output tokens. `cached_share` is of the prompt tokens of the requests whose cached ones the server counted. A turn's
    latencies are over the completed requests of the window, its joules over those wholly in it.
    """
    found: dict[str, Any] = {}
    reasoning, cached, turns = metrics.reasoning_tokens, metrics.cached_tokens, metrics.turn
    if np.isfinite(reasoning).any():
        share = float(np.nansum(reasoning) / np.nansum(metrics.output_tokens))
        found |= {"total_reasoning_tokens": total(reasoning), "reasoning_share": share}
        found |= statistics("first_answer", metrics.first_answer_ms)
        found |= {
            "joules_of_reasoning": None if joules is None else joules * share,
            "joules_of_answers": None if joules is None else joules * (1 - share),
            "joules_per_reasoning_token": _per_reasoning_token(metrics, shared),
        }
    if np.isfinite(cached).any():
        found |= {"total_cached_tokens": total(cached), "cached_share": _cached_share(metrics, np.isfinite(cached))}
    if np.isfinite(turns).any():
        numbers = range(int(np.nanmax(turns)) + 1)
        found["turns"] = [{"turn": number + 1, **_group(metrics, shared, turns == number)} for number in numbers]
    return found


def part_figures(workload: Workload, metrics: TrialMetrics, shared: RequestJoules) -> list[dict[str, Any]]:
    """Of each part of a mix, as of a turn of sessions; `good_share` of its requests met its objectives."""
    found = []
    for number, name in enumerate(workload.part_names):
        chosen = metrics.part == number
        found.append(
            {
                "part": name,
                **_group(metrics, shared, chosen),
                **statistics("e2el", metrics.e2e_ms[chosen]),
                "good_share": metrics.good_share(chosen),
            }
        )
    return found


def _per_reasoning_token(metrics: TrialMetrics, shared: RequestJoules) -> float | None:
    """Over the reasoning of completed requests that lie wholly in the window; its share of each one's output tokens has that of its joules."""
    chosen = metrics.completed & shared.whole & np.isfinite(shared.joules) & (metrics.reasoning_tokens > 0)
    reasoning = metrics.reasoning_tokens[chosen]
    joules = shared.joules[chosen] * reasoning / metrics.output_tokens[chosen]
    return float(joules.sum() / reasoning.sum()) if reasoning.size else None


def _group(metrics: TrialMetrics, shared: RequestJoules, chosen: BoolArray) -> dict[str, Any]:
    prompts = metrics.prompt_tokens[chosen & np.isfinite(metrics.prompt_tokens)]
    joules = shared.of_requests(metrics.completed & chosen)
    return {
        "requests": int(chosen.sum()),
        "failed": int((chosen & ~metrics.completed).sum()),
        "mean_prompt_tokens": float(prompts.mean()) if prompts.size else None,
        "cached_share": _cached_share(metrics, chosen & np.isfinite(metrics.cached_tokens)),
        **statistics("ttft", metrics.ttft_ms[chosen]),
        **statistics("tpot", metrics.tpot_ms[chosen]),
        "mean_request_joules": float(joules.mean()) if joules.size else None,
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


def total(tokens: FloatArray) -> int | None:
    """The sum of those that are known; None without any."""
    return int(np.nansum(tokens)) if np.isfinite(tokens).any() else None
