"""Write trials in other tools' formats: `prunebench report --format vllm-json|guidellm-json|llm-d-json|csv`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

import loadgen.metrics.summary
from base.files import write_text
from loadgen.metrics.latencies import FloatArray
from loadgen.metrics.measuring.measure import measure_records
from loadgen.metrics.request_joules import share_joules
from loadgen.records.schema import RequestRecord
from reports.analysis.energy.token_costs import read_requests
from reports.checks.findings import find_in_trial
from reports.errors import ReportError, require_name
from reports.exports.csv_table import csv_text
from reports.exports.guidellm import as_guidellm
from reports.exports.llmd import as_llmd
from reports.runs.loads import Load

TrialFormat = Literal["vllm-json", "guidellm-json", "llm-d-json", "csv"]
FILES: dict[TrialFormat, str] = {
    "vllm-json": "vllm.json",
    "guidellm-json": "guidellm.json",
    "llm-d-json": "llm-d.json",
    "csv": "requests.csv",
}


def export(paths: Sequence[Path], form: TrialFormat, output: Path | None) -> Path:
    """Write trials in another format, by default beside their folder or file. Raises ReportError.

    llm-d's has one trial a file: those of several are in a folder, the format's name without its ending by default.
    """
    require_name(output)
    read = [read_requests(path) for path in paths]
    loads = [load for each in read for load in each.trials]
    if not loads:
        raise ReportError(f"{paths[0]}: holds no finished trial")
    first = paths[0]
    target = output or (first / FILES[form] if first.is_dir() else first.with_name(f"{first.stem}-{FILES[form]}"))
    try:
        if form == "llm-d-json":
            return _write_llmd(loads, target, named=output is not None)
        write_text(target, {"vllm-json": as_vllm, "guidellm-json": as_guidellm, "csv": as_csv}[form](loads))
    except OSError as error:
        raise ReportError(f"--output {target}: {error.strerror}") from None
    return target


def _write_llmd(loads: Sequence[Load], target: Path, *, named: bool) -> Path:
    """A file of one trial, else a folder with a file of each."""
    texts = as_llmd(loads)
    if len(texts) == 1:
        write_text(target, texts[0])
        return target
    folder = target if named else target.with_suffix("")
    folder.mkdir(exist_ok=True)
    for number, (load, text) in enumerate(zip(loads, texts, strict=True), 1):
        write_text(folder / f"{number:03d}-{load.name}.json", text)
    return folder


def as_vllm(loads: Sequence[Load]) -> str:
    """The JSON of `vllm bench serve --save-result --save-detailed`, with our keys after vLLM's.

    One trial is an object, as in vLLM; several are a list of objects. Texts of answers are not recorded, so they are None.
    """
    results = [_vllm(load) for load in loads]
    return json.dumps(results[0] if len(results) == 1 else results, indent=1, allow_nan=False) + "\n"


def _vllm(load: Load) -> dict[str, Any]:
    findings = find_in_trial(load.trial, load.metrics)
    records = [RequestRecord(**row) for row in load.rows]
    summary = loadgen.metrics.summary.summarize(load.trial, load.metrics, [])
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
        **{name: list(map(_finite, values)) for name, values in _joules(load).items()},
    }


def as_csv(loads: Sequence[Load]) -> str:
    """A row for every request of every trial."""
    rows = [row for load in loads for row in request_rows(load)]
    return csv_text(list(rows[0]), rows) if rows else ""


def request_rows(load: Load) -> Iterator[dict[str, Any]]:
    """The requests of a trial, also outside its window: records without the arrivals, and latencies in milliseconds."""
    shared = _joules(load)
    by = share_joules(load.trial.energy, load.metrics).shared_by
    for at, (row, tpot) in enumerate(zip(load.rows, _tpot_ms(load), strict=True)):
        flat: dict[str, Any] = {"trial": load.name, "workload": load.trial.workload.name}
        flat |= {key: value for key, value in row.items() if not isinstance(value, list | dict)}
        first, last = row["first_token_ns"], row["last_token_ns"]
        flat |= {"chunks": len(row["arrival_ns"] or []), "ttft_ms": _ms(row["sent_ns"], first)}
        flat |= {"tpot_ms": _finite(tpot)}
        flat |= {"e2e_ms": _ms(row["sent_ns"], last), "lag_ms": _ms(row["scheduled_ns"], row["sent_ns"])}
        flat |= {name: _finite(values[at]) for name, values in shared.items()} | {"joules_shared_by": by}
        yield flat


def _joules(load: Load) -> dict[str, FloatArray]:
    return share_joules(load.trial.energy, load.metrics).columns


def _tpot_ms(load: Load) -> FloatArray:
    """TPOT of every request, including those outside the window."""
    edges = {"window_start_ns": load.trial.first_sent_ns, "window_end_ns": load.trial.last_end_ns}
    return measure_records(load.trial.model_copy(update=edges), [RequestRecord(**row) for row in load.rows]).tpot_ms


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _seconds(start: int | None, end: int | None) -> float | None:
    return None if start is None or end is None else (end - start) / 1e9


def _ms(start: int | None, end: int | None) -> float | None:
    return None if start is None or end is None else (end - start) / 1e6
