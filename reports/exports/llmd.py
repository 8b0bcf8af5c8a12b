"""Trials as llm-d's benchmark reports, version 0.2.1: `prunebench report --format llm-d-json`.

A report is of one trial. Power is that of the headline's meters, which were measured; where there are none it is missing, and
`results.observability.energy` says why.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import numpy as np

from energy.wall import wall_energy
from loadgen.metrics.latencies import FloatArray
from loadgen.metrics.summary import per
from loadgen.records.schema import Trial
from reports.analysis.energy.power import PowerFigures, power_figures
from reports.runs.loads import Load
from reports.runs.records.configuration import gpus_of

_VERSION = "0.2.1"
_SERVER = "server"  # the label of the one component that is known
_NOT_RECORDED = "not recorded"
_PERCENTILES = {"p0p1": 0.1, "p1": 1, "p5": 5, "p10": 10, "p25": 25, "p50": 50, "p75": 75, "p90": 90, "p95": 95, "p99": 99, "p99p9": 99.9}  # fmt: skip
_PARALLEL = {"tp": "tensor_parallel_size", "pp": "pipeline_parallel_size", "dp": "data_parallel_size"}


def as_llmd(loads: Sequence[Load]) -> list[str]:
    """A report for each trial, in llm-d's names and units; `run.eid` is that of all of them.

    Latencies are over completed requests of the window, rates over the window. What was not measured is left out.
    """
    experiment = uuid5(NAMESPACE_URL, "/".join(f"{_uid(load)}" for load in loads))
    return [json.dumps(_report(load, experiment), indent=1, allow_nan=False) + "\n" for load in loads]


def _uid(load: Load) -> UUID:
    trial = load.trial
    return uuid5(NAMESPACE_URL, f"{trial.url}/{trial.started_at}/{trial.first_sent_ns}/{load.name}")


def _report(load: Load, experiment: UUID) -> dict[str, Any]:
    trial = load.trial
    scenario = {"stack": [_server(load)], "load": _load(load)}
    return {
        "version": _VERSION,
        "run": {
            "uid": f"{_uid(load)}",
            "eid": f"{experiment}",
            **_known({"time": _times(trial)}),
            "description": f"{trial.model}, {load.name}",
            "keywords": ["simulated"] if trial.simulated else [],
        },
        "scenario": _known(scenario),
        "results": {"request_performance": {"aggregate": _requests(load)}, "observability": _observability(load)},
    }


def _known(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


def _times(trial: Trial) -> dict[str, str] | None:
    """Of the window, exact to each other, as a date good to some seconds; None without a date."""
    if trial.begun is None:
        return None
    start, end = (_date(trial.unix_seconds(ns)) for ns in (trial.window_start_ns, trial.window_end_ns))
    return {"start": start, "end": end, "duration": f"PT{(trial.window_end_ns - trial.window_start_ns) / 1e9:.6f}S"}


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _server(load: Load) -> dict[str, Any]:
    """What served: an inference engine where its GPUs and their parallelism are known, else a generic component."""
    trial, configuration = load.trial, load.configuration
    gpus = [p.info.name for p in trial.energy.parts if p.info.domain == "gpu" and p.info.name and p.copy_of is None]
    options = configuration.engine_options if configuration else {}
    standardized: dict[str, Any] = {
        "kind": "generic",
        "tool": trial.engine or (configuration.engine if configuration else _NOT_RECORDED),
        "tool_version": (configuration.engine_version if configuration else None) or _NOT_RECORDED,
        "model": {"name": trial.model},
    }
    if gpus and len(set(gpus)) == 1 and (configuration or len(gpus) == 1):
        parallelism = {own: int(options[key]) for own, key in _PARALLEL.items() if key in options}
        standardized |= {
            "kind": "inference_engine",
            "role": "replica",
            "replicas": 1,
            "accelerator": {"model": gpus[0], "count": gpus_of(options), "parallelism": parallelism},
        }
    native = {"args": dict(options)} if options else {}
    return {
        "metadata": {"label": _SERVER, "cfg_id": _digest([standardized, native])},
        "standardized": standardized,
        "native": native,
    }


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _load(load: Load) -> dict[str, Any] | None:
    """The offered load; None if the length of prompts, which llm-d requires, is not known."""
    workload, metrics = load.trial.workload, load.metrics
    prompts = metrics.prompt_tokens[np.isfinite(metrics.prompt_tokens)]
    if not prompts.size:
        return None
    native = workload.model_dump(mode="json")
    ours = load.tool == "prunebench"
    asked = metrics.asked_tokens[np.isfinite(metrics.asked_tokens)]
    return {
        "metadata": {
            "cfg_id": _digest(native),
            **_known({"treatment": load.configuration and load.configuration.label}),
        },
        "standardized": {
            "tool": load.tool,
            "tool_version": load.tool_version or _NOT_RECORDED,
            "parallelism": load.trial.client.processes,
            "source": "unknown" if not ours else "random" if workload.is_synthetic else "sampled",
            "input_seq_len": _lengths(prompts),
            **_known({"output_seq_len": _lengths(asked) if asked.size and not workload.natural_stop else None}),
            **({"multi_turn": {"enabled": True}} if workload.holds_sessions else {}),
            **_known({"rate_qps": workload.constant_rate, "concurrency": workload.in_flight}),
        },
        "native": {"config": native},
    }


def _lengths(tokens: FloatArray) -> dict[str, Any]:
    """Measured lengths; drawn ones have no name in llm-d's list that holds after rounding and limits."""
    low, high = int(tokens.min()), int(tokens.max())
    if low == high:
        return {"distribution": "fixed", "value": low}
    return {"distribution": "other", "value": float(tokens.mean()), "min": low, "max": max(high, 1)}


def _statistics(values: FloatArray, units: str) -> dict[str, Any] | None:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    return {
        "units": units,
        "mean": float(finite.mean()),
        "stddev": float(finite.std()),
        "min": float(finite.min()),
        "max": float(finite.max()),
        **{name: float(np.percentile(finite, p)) for name, p in _PERCENTILES.items()},
    }


def _requests(load: Load) -> dict[str, Any]:
    metrics = load.metrics
    with np.errstate(invalid="ignore", divide="ignore"):
        per_token = metrics.e2e_ms / metrics.output_tokens
    done = metrics.completed
    latency = {
        "time_to_first_token": _statistics(metrics.ttft_ms, "ms"),
        "normalized_time_per_output_token": _statistics(per_token, "ms/token"),
        "time_per_output_token": _statistics(metrics.tpot_ms, "ms/token"),
        "inter_token_latency": _gaps(load),
        "request_latency": _statistics(metrics.e2e_ms, "ms"),
    }
    rates = {
        "input_token_rate": ("tokens/s", metrics.prompt_tokens_per_s),
        "output_token_rate": ("tokens/s", metrics.output_tokens_per_s),
        "total_token_rate": ("tokens/s", metrics.tokens_per_s),
        "request_rate": ("queries/s", metrics.requests_per_s),
    }
    return {
        "requests": {
            "total": metrics.requests,
            "failures": metrics.failed,
            "incomplete": 0,
            **_known(
                {
                    "input_length": _statistics(metrics.prompt_tokens[done], "count"),
                    "output_length": _statistics(metrics.output_tokens[done], "count"),
                }
            ),
        },
        "latency": _known(latency),
        "throughput": {
            name: {"units": units, "mean": mean} for name, (units, mean) in rates.items() if mean is not None
        },
    }


def _gaps(load: Load) -> dict[str, Any] | None:
    gaps = load.metrics.completed_itl
    if gaps.mean is None:
        return None
    found = {f"p{level}": value for level, value in gaps.percentiles.items() if np.isfinite(value)}
    return {"units": "ms/token", "mean": gaps.mean, **_known({"stddev": gaps.std}), **found}


def _observability(load: Load) -> dict[str, Any]:
    """Power of the server, and beside llm-d's own fields the joules behind it."""
    trial = load.trial
    energy, wall = trial.energy, wall_energy(trial.energy, load.power)
    found: dict[str, Any] = {}
    if energy.gross_joules is not None:
        power = power_figures(load.power, trial) if load.power else None
        component = {"component_label": _SERVER, "aggregate": {"power_consumption": _power(trial, power)}}
        if power is not None and power.measured and trial.begun is not None:
            component["time_series"] = {"power_consumption": _series(trial, power)}
        found["components"] = [component]
    kept = {
        "gross_joules", "gross_joules_uncertainty", "net_joules", "net_joules_uncertainty", "net_reason", "idle_watts",
        "source", "reason", "modelled_joules", "modelled_basis",
    }  # fmt: skip
    found["energy"] = {
        **energy.model_dump(mode="json", include=kept),
        "simulated": trial.simulated,
        "joules_per_output_token": per(energy.gross_joules, load.metrics.window_output_tokens),
        "joules_per_request": per(energy.gross_joules, load.metrics.credited_requests),
        "wall": None if wall is None else wall.model_dump(mode="json"),
    }
    return found


def _power(trial: Trial, power: PowerFigures | None) -> dict[str, Any]:
    """The mean is the window's joules over its time; the others are of the means of equal steps, as long as `time_series` has them."""
    window_s = (trial.window_end_ns - trial.window_start_ns) / 1e9
    found: dict[str, Any] = {"units": "Watts", "mean": (trial.energy.gross_joules or 0.0) / window_s}
    if power is None or not power.measured:
        return found
    middles = power.start_s + power.step_s * (np.arange(len(power.watts)) + 0.5)
    steps = _statistics(np.array(power.watts)[(middles >= 0) & (middles <= window_s)], "Watts")
    return (steps or {}) | found


def _series(trial: Trial, power: PowerFigures) -> dict[str, Any]:
    """Mean power of each step, ramps included, at its beginning."""
    start = trial.unix_seconds(trial.window_start_ns) + power.start_s
    points = [{"ts": _date(start + n * power.step_s), "value": watts} for n, watts in enumerate(power.watts)]
    return {"units": "Watts", "series": points}
