"""`summary.json`: a trial in the keys of `vllm bench serve --save-result`, and what those lack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from loadgen.metrics.latencies import BoolArray, FloatArray, percentiles
from loadgen.metrics.metrics import TrialMetrics, measure_records
from loadgen.records.schema import Flag, RequestRecord, Trial
from loadgen.records.table import Records
from loadgen.workloads.base import Workload


def summarize(trial: Trial, records: Sequence[RequestRecord], flags: Sequence[Flag]) -> dict[str, Any]:
    """A flat dictionary, ready for JSON; None where there are no data.

    Totals are over all measured requests. Throughputs are over the window, tokens credited by their arrival in it, and
    `duration` is the window's length in seconds. Latencies are milliseconds over completed requests of the window, as vLLM has
    them; in those called `_with_failures` a failed request is slower than any, and `_reason` says why one has no number.
    `scheduled_` ones count from the scheduled time and are there for open loops.
    """
    records = Records.of(records)
    metrics = measure_records(trial, records)
    workload, energy = trial.workload, trial.energy
    open_loop = workload.open_loop
    summary: dict[str, Any] = {
        "date": trial.started_at,
        "endpoint_type": "openai",
        "backend": "openai",
        "label": workload.name,
        "model_id": trial.model,
        "tokenizer_id": None,
        "num_prompts": len(records),
        **workload.vllm_terms(),
        "duration": metrics.window_s,
        "completed": int(metrics.completed.sum()),
        "failed": int((~metrics.completed).sum()),
        "total_input_tokens": _total(metrics.prompt_tokens),
        "total_output_tokens": _total(metrics.output_tokens),
        "request_throughput": metrics.credited_requests / metrics.window_s,
        "request_goodput": _goodput(trial, metrics),
        "output_throughput": metrics.output_tokens_per_s,
        "total_token_throughput": (metrics.window_output_tokens + metrics.window_prompt_tokens) / metrics.window_s,
        "max_output_tokens_per_s": _busiest_second(records),
        "max_concurrent_requests": _most_in_flight(records),
        **_statistics("ttft", metrics.ttft_ms),
        **_statistics("tpot", metrics.tpot_ms),
        **_itl(metrics),
        **_statistics("e2el", metrics.e2e_ms),
        **_with_failures("ttft", metrics.ttft_ms),
        **_with_failures("tpot", metrics.tpot_ms, metrics.tpot_reason),
        **_with_failures("e2el", metrics.e2e_ms),
    }
    if open_loop:
        summary |= _statistics("scheduled_ttft", metrics.scheduled_ttft_ms)
        summary |= {"offered_rate": metrics.offered_requests / metrics.window_s, "saturated": _saturated(metrics)}
        summary |= _with_failures("scheduled_ttft", metrics.scheduled_ttft_ms)
    return summary | {
        "window_start_ns": trial.window_start_ns,
        "window_end_ns": trial.window_end_ns,
        "window_rule": trial.window_rule,
        "window_rules": trial.window_rules,
        "generations": trial.generations,
        "interrupted": trial.interrupted,
        "window_output_tokens": metrics.window_output_tokens,
        "joules_per_output_token": _per(energy.gross_joules, metrics.window_output_tokens),
        "joules_per_total_token": _per(
            energy.gross_joules, metrics.window_output_tokens + metrics.window_prompt_tokens
        ),
        "joules_per_request": _per(energy.gross_joules, metrics.credited_requests),
        "modelled_joules_per_output_token": _per(energy.modelled_joules, metrics.window_output_tokens),
        "flags": [flag.model_dump() for flag in flags],
        "energy": energy.model_dump(mode="json"),
    }


def _statistics(name: str, values: FloatArray) -> dict[str, float | None]:
    finite = values[np.isfinite(values)]
    found = (finite.mean(), np.median(finite), finite.std(), np.percentile(finite, 99)) if finite.size else (None,) * 4
    keys = (f"{which}_{name}_ms" for which in ("mean", "median", "std", "p99"))
    return {key: None if value is None else float(value) for key, value in zip(keys, found, strict=True)}


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


def _itl(metrics: TrialMetrics) -> dict[str, float | None]:
    return {
        "mean_itl_ms": metrics.itl_mean_ms,
        "median_itl_ms": metrics.completed_itl_ms.get(50),
        "std_itl_ms": metrics.itl_std_ms,
        "p99_itl_ms": metrics.completed_itl_ms.get(99),
    }


def _busiest_second(records: Records) -> float | None:
    """Output tokens in the fullest second, counted from the first sending, ramps included."""
    sent = records.times("sent_ns")
    seconds: Counter[int] = Counter()
    for batch in records.batches(["arrival_ns", "arrival_tokens"]):
        cumulative = batch.column("arrival_tokens").flatten().to_numpy().astype(np.int64)
        tokens = np.diff(cumulative, prepend=0)
        lengths = batch.column("arrival_tokens").value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        firsts = (np.cumsum(lengths) - lengths)[lengths > 0]
        tokens[firsts] = cumulative[firsts]
        places = (batch.column("arrival_ns").flatten().to_numpy() - sent.min(initial=2**62)) // 10**9
        for second in np.unique(places):
            seconds[int(second)] += int(tokens[places == second].sum())
    return float(max(seconds.values())) if seconds else None


def _most_in_flight(records: Records) -> int | None:
    """How many requests were under way at once, at most."""
    sent, end = records.column("sent_ns"), records.column("end_ns")
    sent, end = sent[(sent >= 0) & (end >= 0)], end[(sent >= 0) & (end >= 0)]
    if not sent.size:
        return None
    # At one and the same moment an end goes before a start.
    steps = np.repeat([1, -1], [sent.size, end.size])[
        np.lexsort((np.repeat([1, 0], sent.size), np.concatenate([sent, end])))
    ]
    return int(np.cumsum(steps).max())


def met_objectives(workload: Workload, metrics: TrialMetrics) -> BoolArray | None:
    """Which requests of the window met every objective; None without objectives, or where the time per token is unknown.

    A failed request meets none. One token has no time per token, and so keeps to any.
    """
    if workload.slo_tpot_ms is not None and metrics.tpot_reason is not None:
        return None
    limits = ((workload.slo_ttft_ms, metrics.ttft_ms), (workload.slo_tpot_ms, metrics.tpot_ms))
    broken = [values > limit for limit, values in limits if limit is not None]
    return np.isfinite(metrics.ttft_ms) & ~np.logical_or.reduce(broken) if broken else None


def _goodput(trial: Trial, metrics: TrialMetrics) -> float | None:
    """Requests per second of the window that met every objective."""
    met = met_objectives(trial.workload, metrics)
    return None if met is None else float(met.sum()) / metrics.window_s


def _saturated(metrics: TrialMetrics) -> bool | None:
    """None where too little was seen to say."""
    known = metrics.backlog is not None and (metrics.backlog.growing or metrics.backlog.stationary is not None)
    return metrics.saturated if known else None


def _total(tokens: FloatArray) -> int | None:
    return int(np.nansum(tokens)) if np.isfinite(tokens).any() else None


def _per(joules: float | None, count: int) -> float | None:
    return joules / count if joules is not None and count else None
