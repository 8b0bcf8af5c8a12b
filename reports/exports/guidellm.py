"""Trials as guidellm writes its benchmarks: `prunebench report --format guidellm-json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np

from loadgen.metrics.latencies import FloatArray
from loadgen.records.schema import Workload
from reports.runs.loads import Load


def as_guidellm(loads: Sequence[Load]) -> str:
    """Guidellm's report in outline: `benchmarks[]` under its names and in its sense.

    Its inter-token latency is a request's mean (our TPOT), and its time per output token is the whole latency over all output
    tokens. What is only its own is left out: the arguments it was called with, and how its scheduler's queues fared.
    """
    benchmarks = [_guidellm(number, load) for number, load in enumerate(loads)]
    report = {"metadata": {"version": 2, "exported_by": "prunebench"}, "benchmarks": benchmarks}
    return json.dumps(report, indent=1, allow_nan=False) + "\n"


def _guidellm(number: int, load: Load) -> dict[str, Any]:
    trial, metrics = load.trial, load.metrics
    done = metrics.completed
    counts = {"successful": int(done.sum()), "errored": int((~done).sum()), "incomplete": 0, "total": len(done)}
    concurrency = np.array([_in_flight(load)])
    tokens = {
        "prompt_token_count": metrics.prompt_tokens,
        "output_token_count": metrics.output_tokens,
        "total_token_count": metrics.prompt_tokens + metrics.output_tokens,
    }
    with np.errstate(invalid="ignore", divide="ignore"):
        per_token = metrics.e2e_ms / metrics.output_tokens
    values = {
        "request_latency": metrics.e2e_ms / 1e3,
        "time_to_first_token_ms": metrics.ttft_ms,
        "inter_token_latency_ms": metrics.tpot_ms,
        "time_per_output_token_ms": per_token,
        "request_concurrency": concurrency,
        "requests_per_second": np.array([metrics.credited_requests / metrics.window_s]),
        "output_tokens_per_second": np.array([metrics.output_tokens_per_s]),
        "tokens_per_second": np.array(
            [(metrics.window_output_tokens + metrics.window_prompt_tokens) / metrics.window_s]
        ),
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
            "requests_made": counts,
            "strategy_type": _strategy(trial.workload, trial.seed)["type_"],
        },
        "metrics": {"request_totals": counts, **summaries},
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
        "strategy": _strategy(workload, trial.seed),
        "constraints": {kind: {"type_": kind, key: most} for kind, (key, most) in limits.items() if most is not None},
        "slo": objectives if any(objectives.values()) else None,
        "profile": workload.model_dump(mode="json"),
        "requests": workload.model_dump(mode="json", include=set(asked)),
        "backend": {"target": trial.url, "model": trial.model},
        "environment": {"processes": trial.client.processes},
    }


def _strategy(workload: Workload, seed: int) -> dict[str, Any]:
    """The same load in guidellm's terms; of a kind that it lacks (batch, burst, ramp) the name alone."""
    strategies: dict[str, dict[str, Any]] = {
        "single": {"type_": "synchronous"},
        "concurrency": {"type_": "concurrent", "streams": workload.concurrency},
        "constant": {"type_": "constant", "rate": workload.rate},
        "poisson": {"type_": "poisson", "rate": workload.rate, "random_seed": seed},
        "trace": {"type_": "trace", "time_scale": 1 / workload.speed, "schedule_turn": "timestamp"},
    }
    return strategies.get(workload.kind, {"type_": workload.kind})


def _moments(load: Load) -> dict[str, float | None]:
    """Unix seconds, exact to each other; as a date good to some seconds, since a trial keeps its wall time for people only.

    None where an imported result has no date that can be read.
    """
    trial = load.trial
    moments = {
        "start_time": None,
        "request_start_time": trial.first_sent_ns,
        "measure_start_time": trial.window_start_ns,
        "measure_end_time": trial.window_end_ns,
        "request_end_time": trial.last_end_ns,
        "end_time": trial.last_end_ns,
    }
    try:
        begun = datetime.fromisoformat(trial.started_at).timestamp()
    except ValueError:
        return dict.fromkeys(moments)
    first_sent = begun + (trial.warmup.seconds if trial.warmup is not None else 0.0)
    return {
        name: begun if ns is None else first_sent + (ns - trial.first_sent_ns) / 1e9 for name, ns in moments.items()
    }


def _by_status(values: FloatArray, done: np.ndarray[Any, np.dtype[np.bool_]] | None) -> dict[str, Any]:
    none = np.zeros(0)
    good = values if done is None else values[done]
    bad = none if done is None else values[~done]
    parts = {"successful": good, "errored": bad, "incomplete": none, "total": np.concatenate([good, bad])}
    return {status: _distribution(array[np.isfinite(array)]) for status, array in parts.items()}


_PERCENTILES = {"p001": 0.1, "p01": 1, "p05": 5, "p10": 10, "p25": 25, "p50": 50, "p75": 75, "p90": 90, "p95": 95, "p99": 99, "p999": 99.9}  # fmt: skip


def _distribution(values: FloatArray) -> dict[str, Any] | None:
    """Guidellm's summary; None without data, where guidellm writes noughts."""
    if not values.size:
        return None
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


def _in_flight(load: Load) -> float:
    """Requests under way on average over the window."""
    start, end = load.trial.window_start_ns, load.trial.window_end_ns
    spans = [(r["sent_ns"], r["end_ns"]) for r in load.rows if r["sent_ns"] is not None and r["end_ns"] is not None]
    return float(sum(max(0, min(done, end) - max(sent, start)) for sent, done in spans) / (end - start))
