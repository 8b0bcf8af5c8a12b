"""Trials as guidellm writes its benchmarks: `prunebench report --format guidellm-json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from loadgen.metrics.latencies import FloatArray
from reports.runs.loads import Load

_PROFILE_FIELDS = {"streams", "rate", "time_scale", "schedule_turn"}
_UNMEASURED = (
    "request_streaming_iterations_count", "output_tokens_per_iteration", "iter_tokens_per_iteration",
    "time_to_last_round_trip_ms", "avg_round_trip_time_ms",
)  # fmt: skip
_SCHEDULER_AVERAGES = (
    "queued_time_avg", "resolve_start_delay_avg", "resolve_targeted_start_delay_avg", "request_start_delay_avg",
    "request_targeted_start_delay_avg", "resolve_end_delay_avg", "resolve_time_avg", "finalized_delay_avg",
    "processed_delay_avg",
)  # fmt: skip
_BY_MODALITY: dict[str, dict[str, None]] = {
    "text": dict.fromkeys(("tokens", "words", "characters")),
    "image": dict.fromkeys(("tokens", "images", "pixels", "bytes")),
    "video": dict.fromkeys(("tokens", "frames", "seconds", "bytes")),
    "audio": dict.fromkeys(("tokens", "samples", "seconds", "bytes")),
    "tool_call": dict.fromkeys(("tokens", "mixed_tokens", "count")),
}


def as_guidellm(loads: Sequence[Load]) -> str:
    """A report that guidellm's GenerativeBenchmarksReport reads: its names, its sense, every field that it requires.

    Its inter-token latency is a request's mean (our TPOT), and its time per output token is the whole latency over all output
    tokens. Of what was not measured, a distribution has the count 0 and an average is -1, as in guidellm's own reports.
    """
    benchmarks = [_guidellm(number, load) for number, load in enumerate(loads)]
    report = {
        "metadata": {"version": 2, "exported_by": "prunebench"},
        "config": _arguments(loads[0]),
        "benchmarks": benchmarks,
    }
    return json.dumps(report, indent=1, allow_nan=False) + "\n"


def _guidellm(number: int, load: Load) -> dict[str, Any]:
    trial, metrics = load.trial, load.metrics
    done = metrics.completed
    counts = {"successful": int(done.sum()), "errored": metrics.failed, "incomplete": 0, "total": len(done)}
    concurrency = np.array([_in_flight(load)])
    tokens = {
        "prompt_token_count": metrics.prompt_tokens,
        "output_token_count": metrics.output_tokens,
        "total_token_count": metrics.prompt_tokens + metrics.output_tokens,
    }
    with np.errstate(invalid="ignore", divide="ignore"):
        per_token = metrics.e2e_ms / metrics.output_tokens
    unmeasured = np.zeros(0)
    values = {
        **dict.fromkeys(_UNMEASURED, unmeasured),
        "request_latency": metrics.e2e_ms / 1e3,
        "time_to_first_token_ms": metrics.ttft_ms,
        "time_to_first_output_token_ms": metrics.ttft_ms,
        "inter_token_latency_ms": metrics.tpot_ms,
        "time_per_output_token_ms": per_token,
        "request_concurrency": concurrency,
        "requests_per_second": np.array([metrics.requests_per_s]),
        "prompt_tokens_per_second": np.array([metrics.prompt_tokens_per_s]),
        "output_tokens_per_second": np.array([metrics.output_tokens_per_s]),
        "tokens_per_second": np.array([metrics.tokens_per_s]),
    }
    summaries = {
        name: _by_status(array, done if len(array) == len(done) else None)
        for name, array in {**tokens, **values}.items()
    }
    times = _moments(load)
    return {
        "type_": "generative_benchmark",
        "config": _config(number, load),
        "scheduler_state": {
            "num_processes": trial.client.processes,
            "start_time": times["start_time"],
            "end_time": times["end_time"],
            "start_requests_time": times["request_start_time"],
            "end_requests_time": times["request_end_time"],
            "created_requests": len(done),
            "processed_requests": len(done),
            "successful_requests": counts["successful"],
            "errored_requests": counts["errored"],
        },
        "scheduler_metrics": {
            **times,
            **dict.fromkeys(_SCHEDULER_AVERAGES, -1.0),
            "request_time_avg": _mean_or(metrics.e2e_ms[done] / 1e3, -1.0),
            "requests_made": counts,
            "strategy_type": trial.workload.guidellm_terms(trial.seed)["type_"],
        },
        "metrics": {"request_totals": counts, **summaries, **_BY_MODALITY},
        "requests": {"successful": [], "errored": [], "incomplete": [], "total": None},
        "start_time": times["measure_start_time"],
        "end_time": times["measure_end_time"],
        "duration": metrics.window_s,
        "warmup_duration": (trial.window_start_ns - trial.first_sent_ns) / 1e9,
        "cooldown_duration": (trial.last_end_ns - trial.window_end_ns) / 1e9,
    }


def _config(number: int, load: Load) -> dict[str, Any]:
    """What guidellm's BenchmarkConfig holds, as far as there is such a thing here."""
    trial, workload = load.trial, load.trial.workload
    limits = {"max_requests": ("count", workload.requests), "max_duration": ("seconds", workload.duration_s)}
    objectives = {"ttft_ms": workload.slo_ttft_ms, "tpot_ms": workload.slo_tpot_ms}
    asked = ("prompts", "prompt_as", "prompt_tokens", "output_tokens", "shared_prefix", "natural_stop")
    return {
        "id_": load.name,
        "run_id": load.name,
        "run_index": number,
        "strategy": workload.guidellm_terms(trial.seed),
        "constraints": {kind: {"type_": kind, key: most} for kind, (key, most) in limits.items() if most is not None},
        "sample_size": 0,  # the single requests are in requests.parquet, and in the formats csv and vllm-json
        "slo": objectives if any(objectives.values()) else None,
        "profile": workload.model_dump(mode="json"),
        "requests": workload.model_dump(mode="json", include=set(asked)),
        "backend": {"target": trial.url, "model": trial.model},
        "environment": {"processes": trial.client.processes},
    }


def _arguments(load: Load) -> dict[str, Any]:
    """What guidellm would be called with for a load like this one; it requires a profile and data of a kind that it knows."""
    strategy = load.trial.workload.guidellm_terms(load.trial.seed)
    lists = {"streams", "rate"}  # a profile may run several
    profile = {name: [value] if name in lists else value for name, value in strategy.items() if name in _PROFILE_FIELDS}
    kind = "replay" if strategy["type_"] == "trace" else strategy["type_"]
    data = {
        "kind": "synthetic_text",
        "prompt_tokens": max(1, round(_mean_or(load.metrics.prompt_tokens, 1.0))),
        "output_tokens": max(1, round(_mean_or(load.metrics.asked_tokens, 1.0))),
    }
    backend = {"kind": "openai_http", "target": load.trial.url, "model": load.trial.model}
    return {"spec": {"backend": backend, "profile": {"kind": kind, **profile}, "data": [data]}}


def _moments(load: Load) -> dict[str, float]:
    """Unix seconds; seconds from its start where an imported result has no date that can be read."""
    trial = load.trial
    moments = {
        "request_start_time": trial.first_sent_ns,
        "measure_start_time": trial.window_start_ns,
        "measure_end_time": trial.window_end_ns,
        "request_end_time": trial.last_end_ns,
        "end_time": trial.last_end_ns,
    }
    return {"start_time": trial.begun or 0.0, **{name: trial.unix_seconds(ns) for name, ns in moments.items()}}


def _by_status(values: FloatArray, done: np.ndarray[Any, np.dtype[np.bool_]] | None) -> dict[str, Any]:
    none = np.zeros(0)
    good = values if done is None else values[done]
    bad = none if done is None else values[~done]
    parts = {"successful": good, "errored": bad, "incomplete": none, "total": np.concatenate([good, bad])}
    return {status: _distribution(array[np.isfinite(array)]) for status, array in parts.items()}


_PERCENTILES = {"p001": 0.1, "p01": 1, "p05": 5, "p10": 10, "p25": 25, "p50": 50, "p75": 75, "p90": 90, "p95": 95, "p99": 99, "p999": 99.9}  # fmt: skip


_MOMENTS = ("mean", "median", "mode", "variance", "std_dev", "min", "max", "total_sum")


def _distribution(values: FloatArray) -> dict[str, Any]:
    """Guidellm's summary; without data all 0 with the count 0, as guidellm writes it and requires it."""
    if not values.size:
        return {
            **dict.fromkeys(_MOMENTS, 0.0),
            "count": 0,
            "percentiles": dict.fromkeys(_PERCENTILES, 0.0),
            "pdf": None,
        }
    common, counts = np.unique(values, return_counts=True)
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "mode": float(common[counts.argmax()]),
        "variance": float(values.var()),
        "std_dev": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
        "count": int(values.size),
        "total_sum": float(values.sum()),
        "percentiles": {name: float(np.percentile(values, p)) for name, p in _PERCENTILES.items()},
        "pdf": None,
    }


def _mean_or(values: FloatArray, unknown: float) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else unknown


def _in_flight(load: Load) -> float:
    """Requests under way on average over the window."""
    start, end = load.trial.window_start_ns, load.trial.window_end_ns
    spans = [(r["sent_ns"], r["end_ns"]) for r in load.rows if r["sent_ns"] is not None and r["end_ns"] is not None]
    return float(sum(max(0, min(done, end) - max(sent, start)) for sent, done in spans) / (end - start))
