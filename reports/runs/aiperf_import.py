"""Import the requests of aiperf (`profile_export.jsonl`) as a load.

How the load was offered stands in `profile_export_aiperf.json` beside it. aiperf times every chunk and counts no tokens of it: tokens
are spread evenly over a request's chunks, and there is a TPOT only where every chunk was one token. Tokens are the server's usage where
it sent one, else those of aiperf's tokenizer. Joules of its GPU telemetry are not read: they are of other windows than ours.
"""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadgen.workloads.base import Workload
from reports.runs.imported import Imported, blank_row, import_rows, offered

AIPERF = "aiperf profile (profile_export.jsonl)"
_BESIDE = "profile_export_aiperf.json"
_BURSTINESS = {"constant": float("inf"), "poisson": 1.0}


def is_aiperf(result: Any) -> bool:
    """Whether it is the lines of `profile_export.jsonl`."""
    return isinstance(result, list) and bool(result) and all(_is_record(each) for each in result)


def _is_record(line: Any) -> bool:
    metadata = line.get("metadata") if isinstance(line, dict) else None
    return isinstance(metadata, dict) and "request_start_ns" in metadata


def import_aiperf(records: list[dict[str, Any]], file: Path) -> Imported:
    """The requests of its measured phase as a load; `file` is where they were read. Raises ValueError or KeyError with the reason."""
    try:
        config = json.loads((file.parent / _BESIDE).read_bytes())["input_config"]
    except FileNotFoundError:
        raise ValueError(f"lacks {_BESIDE} beside it, which says how the load was offered") from None
    phase = [each for each in config["phases"] if each["kind"] == "profiling"][-1]
    measured = [each for each in records if each["metadata"]["benchmark_phase"] == "profiling"]
    measured.sort(key=lambda each: each["metadata"]["request_start_ns"])
    if not measured:
        raise ValueError("no request of it is of the profiling phase")
    first = measured[0]["metadata"]["request_start_ns"]
    scheduled = phase["type"] != "concurrency"
    rows = [_row(index, each, first, scheduled=scheduled) for index, each in enumerate(measured)]
    return import_rows(
        rows,
        _workload(phase, rows),
        tool="aiperf",
        url=f"imported from aiperf ({', '.join(config['endpoint']['urls'])})",
        model=", ".join(each["name"] for each in config["models"]["items"]),
        started_at=datetime.fromtimestamp(first / 1e9, UTC).isoformat(timespec="seconds"),
        without_joules="joules of aiperf's GPU telemetry are not read",
    )


def _row(index: int, record: dict[str, Any], origin_ns: int, *, scheduled: bool) -> dict[str, Any]:
    metadata, error = record["metadata"], record.get("error")
    values = {name: metric["value"] for name, metric in record["metrics"].items()}
    sent = metadata["request_start_ns"] - origin_ns
    row = blank_row(index, metadata.get("x_request_id") or f"aiperf-{index}", sent)
    row |= {"end_ns": metadata["request_end_ns"] - origin_ns}
    if (acknowledged := metadata.get("request_ack_ns")) is not None:
        row["headers_ns"] = acknowledged - origin_ns
    if scheduled and metadata.get("credit_issued_ns") is not None:
        row["scheduled_ns"] = metadata["credit_issued_ns"] - origin_ns
    row["prompt_tokens"] = values.get("usage_prompt_tokens", values.get("input_sequence_length"))
    if error is not None or "time_to_first_token" not in values:
        message = error["message"] if error is not None else "no token arrived, or it was not streamed"
        return row | {"error": str(message).strip().splitlines()[-1]}
    gaps = [values["time_to_first_token"], *values.get("inter_chunk_latency", [])]
    arrivals = [sent + round(at * 1e6) for at in itertools.accumulate(gaps)]
    usage = values.get("usage_completion_tokens")
    output = values["output_sequence_length"] if usage is None else usage
    return row | {
        "first_token_ns": arrivals[0],
        "last_token_ns": arrivals[-1],
        "arrival_ns": arrivals,
        "arrival_tokens": [round(output * n / len(arrivals)) for n in range(1, len(arrivals) + 1)],
        "output_tokens": output,
        "counted_by": "tokenizer" if usage is None else "server-usage",
        "status": 200,
    }


def _workload(phase: dict[str, Any], rows: list[dict[str, Any]]) -> Workload:
    kind = phase["type"]
    name = f"aiperf-{kind}"
    if kind == "concurrency":
        return offered(name, rows, concurrency=phase.get("concurrency", 1))
    burstiness = _BURSTINESS.get(kind, phase.get("smoothness") if kind == "gamma" else None)
    if burstiness is None or phase.get("rate") is None:
        raise ValueError(f"a phase of the type {kind} without one rate is no load of ours")
    return offered(name, rows, rate=phase["rate"], burstiness=burstiness)
