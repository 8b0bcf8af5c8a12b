"""Import a result of `vllm bench serve --save-result --save-detailed` as a trial.

The result counts no tokens per chunk, so a request's tokens are spread evenly over its chunks.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

from loadgen.workloads.base import Workload
from reports.runs.imported import Imported, blank_row, import_rows, offered

_ARRAYS = ("input_lens", "output_lens", "ttfts", "itls", "start_times", "errors")
VLLM = "vllm bench serve --save-result --save-detailed"


def is_vllm(result: Any) -> bool:
    """Whether it has what the option --save-detailed adds."""
    return isinstance(result, dict) and all(isinstance(result.get(name), list) and result[name] for name in _ARRAYS)


def import_vllm(result: dict[str, Any]) -> Imported:
    """Its requests as a load. Raises ValueError or TypeError with the reason."""
    rows = _rows(result)
    return import_rows(
        rows,
        _workload(result, rows),
        tool="vllm-benchmark",
        url=f"imported from vllm bench serve ({result.get('backend') or 'backend not recorded'})",
        model=result.get("model_id"),
        started_at=_date(str(result.get("date", ""))),
        without_joules="vllm bench serve measures no energy",
    )


def _rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    first = min(result["start_times"])
    columns = zip(*(result[name] for name in _ARRAYS), strict=True)
    return [
        blank_row(index, f"vllm-{index}", sent := round((start - first) * 1e9))
        | {"prompt_tokens": prompt}
        | _answer(sent, output, [ttft, *itls], error)
        for index, (prompt, output, ttft, itls, start, error) in enumerate(columns)
    ]


def _answer(sent: int, output: int, gaps: list[float], error: str) -> dict[str, Any]:
    """`gaps` are the seconds to the first chunk and between chunks. The end of a failed request is not recorded."""
    if error or not gaps[0]:
        return {"error": error.strip().splitlines()[-1] if error.strip() else "no token arrived"}
    arrivals = [sent + round(at * 1e9) for at in itertools.accumulate(gaps)]
    counts = [round(output * n / len(arrivals)) for n in range(1, len(arrivals) + 1)]
    found = {"arrival_ns": arrivals, "arrival_tokens": counts, "output_tokens": output, "counted_by": "server-usage"}
    return found | {"first_token_ns": arrivals[0], "last_token_ns": arrivals[-1], "end_ns": arrivals[-1], "status": 200}


def _workload(result: dict[str, Any], rows: list[dict[str, Any]]) -> Workload:
    rate, name = result.get("request_rate", "inf"), str(result.get("label") or "vllm-bench-serve")
    return offered(
        name,
        rows,
        rate=None if rate == "inf" else rate,
        burstiness=result.get("burstiness") or 1.0,
        concurrency=result.get("max_concurrency"),
    )


def _date(text: str) -> str:
    """Parse vLLM's 20261125-011300, a local time of an unrecorded time zone."""
    try:
        return datetime.strptime(text, "%Y%m%d-%H%M%S").replace(tzinfo=UTC).isoformat()
    except ValueError:
        return text
