"""`summary.json`: a trial in the keys of `vllm bench serve --save-result`, and what those lack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from energy.records import PowerTimeline, WindowEnergy
from energy.timeline import power_at_clocks
from energy.wall import wall_energy
from loadgen.metrics.groups import (
    FOUR,
    cached_by_counter,
    conversation_figures,
    gap_statistics,
    part_figures,
    statistics,
    total,
    turn_figures,
)
from loadgen.metrics.latencies import FloatArray, percentiles
from loadgen.metrics.metrics import TrialMetrics
from loadgen.metrics.request_joules import RequestJoules, share_joules
from loadgen.records.schema import Flag, Trial


def summarize(
    trial: Trial, metrics: TrialMetrics, flags: Sequence[Flag], power: PowerTimeline | None = None
) -> dict[str, Any]:
    """A flat dictionary, ready for JSON; None where there are no data.

    Totals are over all measured requests. Throughputs are over the window, tokens credited by their arrival in it, and
    `duration` is the window's length in seconds. Latencies are milliseconds over completed requests of the window, as vLLM has
    them; in those called `_with_failures` a failed request is slower than any, and `_reason` says why one has no number.
    `scheduled_` ones count from the scheduled time and are there for open loops.
    """
    workload, energy = trial.workload, trial.energy
    open_loop = workload.open_loop
    summary: dict[str, Any] = {
        "date": trial.started_at,
        "endpoint_type": "openai-chat" if trial.form is not None and "chat" in trial.form.path else "openai",
        "backend": "openai",
        "label": workload.name,
        "model_id": trial.model,
        "engine": trial.engine,
        "simulated": trial.simulated,
        "tokenizer_id": None,
        "num_prompts": metrics.requests,
        "prompt_as": workload.prompt_as if workload.is_synthetic else None,
        **workload.vllm_terms(),
        "duration": metrics.window_s,
        "completed": int(metrics.completed.sum()),
        "failed": metrics.failed,
        "total_input_tokens": total(metrics.prompt_tokens),
        "total_output_tokens": total(metrics.output_tokens),
        "total_output_characters": total(metrics.output_characters),
        "request_throughput": metrics.requests_per_s,
        "request_goodput": metrics.good_per_s,
        "good_share": metrics.good_share(),
        "output_throughput": metrics.output_tokens_per_s,
        "total_token_throughput": metrics.tokens_per_s,
        "max_output_tokens_per_s": float(busiest) if (busiest := metrics.busiest_second_tokens) is not None else None,
        "max_concurrent_requests": metrics.most_in_flight,
        **statistics("ttft", metrics.ttft_ms),
        **statistics("tpot", metrics.tpot_ms),
        **gap_statistics(metrics.completed_itl),
        **statistics("e2el", metrics.e2e_ms),
        **_with_failures("ttft", metrics.ttft_ms),
        **_with_failures("tpot", metrics.tpot_ms, metrics.tpot_reason),
        **_with_failures("e2el", metrics.e2e_ms),
    }
    if open_loop:
        summary |= statistics("scheduled_ttft", metrics.scheduled_ttft_ms)
        summary |= {"offered_rate": metrics.offered_rate, "saturated": _saturated(metrics)}
        summary |= _with_failures("scheduled_ttft", metrics.scheduled_ttft_ms)
    shared, wall = share_joules(energy, metrics), wall_energy(energy, power)
    summary |= cached_by_counter(trial, metrics) | conversation_figures(metrics, energy.gross_joules, shared)
    groups = {"turns": turn_figures(metrics, shared), "parts": part_figures(workload, metrics, shared)}
    summary |= {name: found for name, found in groups.items() if found}
    return summary | {
        "window_start_ns": trial.window_start_ns,
        "window_end_ns": trial.window_end_ns,
        "window_rule": trial.window_rule,
        "window_rules": trial.window_rules,
        "generations": trial.generations,
        "interrupted": trial.interrupted,
        "window_output_tokens": metrics.window_output_tokens,
        "joules_per_output_token": per(energy.gross_joules, metrics.window_output_tokens),
        "joules_per_total_token": per(energy.gross_joules, metrics.window_tokens),
        "joules_per_output_character": per(energy.gross_joules, metrics.window_output_characters),
        "joules_per_request": per(energy.gross_joules, metrics.credited_requests),
        "joules_per_good_request": _per_good(trial, metrics),
        **_request_joules(metrics, shared),
        "wall": None if wall is None else wall.model_dump(),
        **_beside_the_window(trial),
        **_clocks(energy, power),
        "modelled_joules_per_output_token": per(energy.modelled_joules, metrics.window_output_tokens),
        "flags": [flag.model_dump() for flag in flags],
        "energy": energy.model_dump(mode="json"),
    }


def _beside_the_window(trial: Trial) -> dict[str, Any]:
    """ML.ENERGY's steady state, the warm-up, and carbon where an intensity was stated; None where they were not recorded."""
    steady, warmup = trial.steady_state, trial.warmup
    found: dict[str, Any] = {"steady_state": None, "warm_up": None if warmup is None else warmup.model_dump()}
    if steady is not None:
        seconds = None if steady.end_ns is None or steady.start_ns is None else (steady.end_ns - steady.start_ns) / 1e9
        each = per(steady.joules, steady.output_tokens)
        found["steady_state"] = {
            "rule": "ML.ENERGY",
            **steady.model_dump(),
            "seconds": seconds,
            "joules_per_output_token": each,
        }
    return found if trial.carbon is None else found | {"carbon": trial.carbon.model_dump()}


def _clocks(energy: WindowEnergy, power: PowerTimeline | None) -> dict[str, Any]:
    found = [] if power is None else power_at_clocks(power, energy)
    reason = None if found else "power was not kept" if power is None else "no meter that answers reports a clock"
    return {"power_at_clock": [one.model_dump() for one in found] or None, "power_at_clock_reason": reason}


def _request_joules(metrics: TrialMetrics, shared: RequestJoules) -> dict[str, Any]:
    """Of completed requests that lie wholly in the window, and what none of them has a share of."""
    own = shared.of_requests(metrics.completed)
    found = (own.mean(), np.median(own), own.std(), np.percentile(own, 99)) if own.size else (None,) * 4
    reason = shared.reason or (None if own.size else "no completed request lies wholly in the window")
    return {
        **{
            f"{name}_request_joules": None if value is None else float(value)
            for name, value in zip(FOUR, found, strict=True)
        },
        "request_joules_uncertainty": shared.typical_uncertainty(metrics.completed),
        "request_joules_reason": reason,
        "joules_shared_by": shared.shared_by,
        "unattributed_joules": shared.unattributed_joules,
        "unattributed_joules_uncertainty": shared.unattributed_joules_uncertainty,
    }


def _per_good(trial: Trial, metrics: TrialMetrics) -> float | None:
    good = metrics.good
    return None if good is None else per(trial.energy.gross_joules, float(good.sum()))


def _with_failures(name: str, values: FloatArray, reason: str | None = None) -> dict[str, float | str | None]:
    """Median and p99 with the failed requests above any; a reason where there is no number."""
    found = percentiles(values, (50, 99))
    summary: dict[str, float | str | None] = {}
    for which, wanted in (("median", 50), ("p99", 99)):
        key, value = f"{which}_{name}_ms_with_failures", found.get(wanted)
        among = "it lands among the failed requests" if value is not None else "no request of the window has it"
        there = value is not None and np.isfinite(value)
        summary |= {key: value if there else None, f"{key}_reason": None if there else reason or among}
    return summary


def _saturated(metrics: TrialMetrics) -> bool | None:
    """None where too little was seen to say."""
    known = metrics.backlog is not None and (metrics.backlog.growing or metrics.backlog.stationary is not None)
    return metrics.saturated if known else None


def per(joules: float | None, count: float | None) -> float | None:
    """Joules of each; None where they were not measured, or there is none of these."""
    return joules / count if joules is not None and count else None
