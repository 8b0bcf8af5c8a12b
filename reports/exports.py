"""Trials in other tools' formats: `prunebench report --format vllm-json|guidellm-json|csv`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

import loadgen.summary
from loadgen.metrics import FloatArray
from loadgen.records import RequestRecord
from reports.checks import find_in_trial
from reports.errors import ReportError
from reports.loads import Load, read_loads

FILES = {"vllm-json": "vllm.json", "guidellm-json": "guidellm.json", "csv": "requests.csv"}


def export(paths: Sequence[Path], form: str, output: Path | None) -> Path:
    """Write trials in another format; by default beside what they were read from. Raises ReportError."""
    read = [read_loads(path) for path in paths]
    loads = [load for each in read for load in each.trials]
    if not loads:
        raise ReportError(f"{paths[0]}: holds no finished trial")
    first = paths[0]
    target = output or (first / FILES[form] if first.is_dir() else first.with_name(f"{first.stem}-{FILES[form]}"))
    text = {"vllm-json": as_vllm, "guidellm-json": as_guidellm, "csv": as_csv}[form](loads)
    partial = target.with_name(f"{target.name}.partial")
    try:
        partial.write_text(text, "utf-8")
        partial.replace(target)
    except OSError as error:
        raise ReportError(f"--output {target}: {error.strerror}") from None
    return target


def as_vllm(loads: Sequence[Load]) -> str:
    """What `vllm bench serve --save-result --save-detailed` writes, with our keys after its own.

    One trial is an object as vLLM's is; several are a list of them. Texts of answers are not kept: None.
    """
    results = [_vllm(load) for load in loads]
    return json.dumps(results[0] if len(results) == 1 else results, indent=1, allow_nan=False) + "\n"


def _vllm(load: Load) -> dict[str, Any]:
    findings = find_in_trial(load.trial, load.metrics)
    records = [RequestRecord(**row) for row in load.rows]
    summary = loadgen.summary.summarize(load.trial, records, [])
    flags = [
        {"check": name, "outcome": found.outcome, "reason": found.reason}
        for name, found in findings.items()
        if found.outcome in {"warn", "fail"}
    ]
    try:
        date = datetime.fromisoformat(load.trial.started_at).strftime("%Y%m%d-%H%M%S")
    except ValueError:
        date = load.trial.started_at
    begun = load.trial.first_sent_ns
    return {
        **summary,
        "date": date,
        "label": load.name,
        "flags": flags,
        "input_lens": [r.prompt_tokens or 0 for r in records],
        "output_lens": [r.output_tokens or 0 for r in records],
        "ttfts": [_seconds(r.sent_ns, r.first_token_ns) or 0.0 for r in records],
        "itls": [[float(gap) / 1e9 for gap in np.diff(r.arrival_ns)] for r in records],
        "latencies": [_seconds(r.sent_ns, r.last_token_ns) or 0.0 for r in records],
        "start_times": [_seconds(begun, r.sent_ns) for r in records],
        "queue_times": [_seconds(r.scheduled_ns, r.sent_ns) for r in records],
        "generated_texts": [None] * len(records),
        "errors": [r.error or "" for r in records],
    }


def as_csv(loads: Sequence[Load]) -> str:
    """A row for every request: its record without the arrivals, and its latencies in milliseconds."""
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for load in loads:
        for row in load.rows:
            flat: dict[str, Any] = {"trial": load.name, "workload": load.trial.workload.name}
            flat |= {key: value for key, value in row.items() if not isinstance(value, list | dict)}
            first, last, tokens = row["first_token_ns"], row["last_token_ns"], row["output_tokens"] or 0
            flat |= {"chunks": len(row["arrival_ns"] or []), "ttft_ms": _ms(row["sent_ns"], first)}
            decode = _ms(first, last)
            flat |= {"tpot_ms": decode / (tokens - 1) if decode is not None and tokens > 1 else None}
            flat |= {"e2e_ms": _ms(row["sent_ns"], last), "lag_ms": _ms(row["scheduled_ns"], row["sent_ns"])}
            if writer is None:
                writer = csv.DictWriter(text, fieldnames=list(flat), lineterminator="\n", extrasaction="ignore")
                writer.writeheader()
            writer.writerow(flat)
    return text.getvalue()


def as_guidellm(loads: Sequence[Load]) -> str:
    """Guidellm's report in outline: `benchmarks[]` with `metrics` under its names and in its sense.

    Its inter-token latency is a request's mean (our TPOT), and its time per output token is the whole latency over all output
    tokens. Its configuration and the scheduler's own figures have no counterpart here and are left out.
    """
    return (
        json.dumps(
            {"metadata": {"version": 2, "exported_by": "prunebench"}, "benchmarks": [_guidellm(x) for x in loads]},
            indent=1,
            allow_nan=False,
        )
        + "\n"
    )


def _guidellm(load: Load) -> dict[str, Any]:
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
        "requests_per_second": np.array([metrics.window_requests / metrics.window_s]),
        "output_tokens_per_second": np.array([metrics.output_tokens_per_s]),
        "tokens_per_second": np.array(
            [(metrics.window_output_tokens + metrics.window_prompt_tokens) / metrics.window_s]
        ),
    }
    summaries = {
        name: _by_status(array, done if len(array) == len(done) else None)
        for name, array in {**tokens, **values}.items()
    }
    return {
        "type_": "generative_benchmark",
        "config": {"strategy": trial.workload.model_dump(mode="json"), "profile": {}, "run_id": load.name},
        "scheduler_state": {
            "processed_requests": len(done),
            "successful_requests": counts["successful"],
            "errored_requests": counts["errored"],
        },
        "metrics": {"request_totals": counts, **summaries},
        "start_time": trial.window_start_ns / 1e9,
        "end_time": trial.window_end_ns / 1e9,
        "duration": metrics.window_s,
        "warmup_duration": (trial.window_start_ns - trial.first_sent_ns) / 1e9,
        "cooldown_duration": (trial.last_end_ns - trial.window_end_ns) / 1e9,
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


def _seconds(start: int | None, end: int | None) -> float | None:
    return None if start is None or end is None else (end - start) / 1e9


def _ms(start: int | None, end: int | None) -> float | None:
    return None if start is None or end is None else (end - start) / 1e6
