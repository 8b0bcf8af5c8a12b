"""Import a result of `vllm bench serve --save-result --save-detailed` as a trial.

The result counts no tokens per chunk, so a request's tokens are spread evenly over its chunks. It has no energy, no schedule and no
client health; these stay None with the reason.
"""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from energy.records import WindowEnergy
from loadgen.metrics.metrics import TrialMetrics, measure_records
from loadgen.records.schema import COLUMN_TYPES, ClientHealth, RequestRecord, Trial
from loadgen.workloads.base import Workload
from reports.errors import ReportError

_ARRAYS = ("input_lens", "output_lens", "ttfts", "itls", "start_times", "errors")


def import_vllm(file: Path) -> tuple[Trial, list[dict[str, Any]], TrialMetrics]:
    """Return the trial, the rows of its requests, and its figures. Raises ReportError for any other file."""
    try:
        result = json.loads(file.read_bytes())
        lengths = {len(result[name]) for name in _ARRAYS}
    except (ValueError, KeyError, TypeError):
        lengths = set()
    if len(lengths) != 1 or lengths == {0}:
        raise ReportError(f"{file}: is not a result of vllm bench serve --save-result --save-detailed")
    try:
        rows = _rows(result)
        trial = _trial(result, rows)
    except (ValueError, TypeError, IndexError) as error:
        raise ReportError(f"{file}: {str(error).partition(chr(10))[0]}") from None
    return trial, rows, measure_records(trial, [RequestRecord(**row) for row in rows])


def _rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    first = min(result["start_times"])
    columns = zip(*(result[name] for name in _ARRAYS), strict=True)
    return [
        _row(round((start - first) * 1e9), output, [ttft, *itls], error) | _named(index, prompt)
        for index, (prompt, output, ttft, itls, start, error) in enumerate(columns)
    ]


def _named(index: int, prompt_tokens: int) -> dict[str, Any]:
    return {"request_id": f"vllm-{index}", "index": index, "group": index, "prompt_tokens": prompt_tokens}


def _row(sent: int, output: int, gaps: list[float], error: str) -> dict[str, Any]:
    """One row; `gaps` are the seconds to the first chunk and between chunks. The end of a failed request is not recorded."""
    row: dict[str, Any] = dict.fromkeys(COLUMN_TYPES)
    row |= {"scheduled_ns": sent, "sent_ns": sent, "arrival_ns": [], "arrival_tokens": [], "end_ns": sent}
    if error or not gaps[0]:
        return row | {"error": error.strip().splitlines()[-1] if error.strip() else "no token arrived"}
    arrivals = [sent + round(at * 1e9) for at in itertools.accumulate(gaps)]
    counts = [round(output * n / len(arrivals)) for n in range(1, len(arrivals) + 1)]
    row |= {"arrival_ns": arrivals, "arrival_tokens": counts, "output_tokens": output, "counted_by": "server-usage"}
    return row | {"first_token_ns": arrivals[0], "last_token_ns": arrivals[-1], "end_ns": arrivals[-1], "status": 200}


def _trial(result: dict[str, Any], rows: list[dict[str, Any]]) -> Trial:
    end = max(row["end_ns"] for row in rows)
    if all(row["error"] for row in rows):
        raise ValueError("no request was completed")
    return Trial(
        url=f"imported from vllm bench serve ({result.get('backend') or 'backend not recorded'})",
        model=str(result.get("model_id") or "not recorded"),
        workload=_workload(result, len(rows)),
        seed=0,
        window_start_ns=-1,  # outside the window; a failed request ends when it is sent
        window_end_ns=end,
        window_rule="whole",
        window_rules=2,
        first_sent_ns=0,
        last_end_ns=end,
        started_at=_date(str(result.get("date", ""))),
        client=ClientHealth(cpu_fraction=None, loop_lag_p99_ms=None, schedule_lag_p99_ms=None),
        energy=WindowEnergy(start_ns=-1, end_ns=end, reason="vllm bench serve measures no energy"),
    )


def _workload(result: dict[str, Any], requests: int) -> Workload:
    """The offered load, as far as it is recorded. Lengths are the measured ones, so the workload stops naturally."""
    fields: dict[str, Any] = {"name": str(result.get("label") or "vllm-bench-serve"), "requests": requests}
    rate, burstiness = result.get("request_rate", "inf"), result.get("burstiness") or 1.0
    if rate != "inf":
        fields |= {"kind": "poisson", "rate": rate} if burstiness == 1.0 else {"kind": "burst", "rate": rate}
        fields |= {} if burstiness == 1.0 else {"burstiness": burstiness}
    elif result.get("max_concurrency"):
        fields |= {"kind": "concurrency", "concurrency": result["max_concurrency"]}
    else:
        fields |= {"kind": "batch", "batch_size": requests}
    tokens = {name: max(1, round(sum(result[name]) / requests)) for name in ("input_lens", "output_lens")}
    fields |= {"prompt_tokens": tokens["input_lens"], "output_tokens": tokens["output_lens"]}
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in fields["name"]).lstrip("._-") or "vllm"
    return Workload.model_validate(fields | {"name": name, "natural_stop": True, "warmup_requests": 0})


def _date(text: str) -> str:
    """Parse vLLM's 20261125-011300, a local time of an unrecorded time zone."""
    try:
        return datetime.strptime(text, "%Y%m%d-%H%M%S").replace(tzinfo=UTC).isoformat()
    except ValueError:
        return text
