"""Import the benchmarks of a guidellm report (`--output kind=json`) as loads.

guidellm keeps a request's first and last token and how many chunks there were, and no time between them: there is no ITL, and a TPOT
only where every chunk was one token. Requests that were cancelled at the end of a benchmark are left out, as ours are after Ctrl-C.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from loadgen.metrics.metrics import NO_GAPS
from loadgen.workloads.base import Workload
from reports.runs.imported import Imported, blank_row, import_rows, offered

GUIDELLM = "guidellm --output kind=json"
_GAPS_UNKNOWN = "guidellm records the first and the last token of a request, and no time between them"
_SCHEDULED = {"constant": float("inf"), "poisson": 1.0}  # strategies with a schedule, and how bursty it is


def is_guidellm(result: Any) -> bool:
    """Whether it is a report with benchmarks."""
    return isinstance(result, dict) and isinstance(result.get("benchmarks"), list) and bool(result["benchmarks"])


def import_guidellm(result: dict[str, Any]) -> list[Imported]:
    """Each benchmark as a load. Raises ValueError, KeyError or TypeError with the reason."""
    return [_benchmark(benchmark) for benchmark in result["benchmarks"]]


def _benchmark(benchmark: dict[str, Any]) -> Imported:
    requests, config = benchmark["requests"], benchmark["config"]
    strategy = config["strategy"]
    done = [*(requests["successful"] or ()), *(requests["errored"] or ())]
    sent = [s for each in done if (s := _sent(each["info"]["timings"])) is not None]
    if not sent:
        raise ValueError("it has no single requests: guidellm keeps them unless its sample_size is 0")
    first = min(sent)
    done.sort(key=lambda each: _sent(each["info"]["timings"]) or first)
    rows = [_row(index, each, first, strategy["type_"] in _SCHEDULED) for index, each in enumerate(done)]
    backend = config.get("backend") or {}
    found = import_rows(
        rows,
        _workload(strategy, rows),
        tool="guidellm",
        url=f"imported from guidellm ({backend.get('target') or 'target not recorded'})",
        model=backend.get("model"),
        started_at=datetime.fromtimestamp(first, UTC).isoformat(timespec="seconds"),
        without_joules="guidellm measures no energy",
    )
    # Tokens between the first and the last are at no known time.
    metrics = replace(
        found.metrics, itl_ms={}, completed_itl=NO_GAPS, itl_reason=_GAPS_UNKNOWN, busiest_second_tokens=None
    )
    return replace(found, metrics=metrics)


def _sent(timings: dict[str, Any]) -> float | None:
    found: float | None = timings["request_start"] or timings["resolve_start"]
    return found


def _row(index: int, request: dict[str, Any], origin: float, scheduled: bool) -> dict[str, Any]:
    timings, error = request["info"]["timings"], request["info"].get("error")
    at = {key: None if value is None else round((value - origin) * 1e9) for key, value in _times(timings).items()}
    row = blank_row(index, request["request_id"], at["sent"] or 0)
    row |= {"end_ns": at["end"] if at["end"] is not None else row["sent_ns"]}
    if scheduled and at["targeted"] is not None:
        row["scheduled_ns"] = at["targeted"]
    row |= {"prompt_tokens": request["prompt_tokens"], "cached_tokens": request.get("cached_tokens")}
    if error is not None or at["first"] is None:
        return row | {"error": (error or "no token arrived").strip().splitlines()[-1]}
    output, chunks = request["output_tokens"], timings["token_iterations"]
    first, last = at["first"], at["last"] if at["last"] is not None else at["first"]
    several = last > first and output is not None and output > 1
    text = request.get("output")
    return row | {
        "first_token_ns": first,
        "last_token_ns": last,
        "arrival_ns": [first, last] if several else [last],
        "arrival_tokens": [1, output] if several else [output or chunks],
        "output_tokens": output,
        "output_characters": None if text is None else len(text),
        "counted_by": "server-continuous-usage" if chunks == output else "server-usage",
        "status": 200,
    }


def _times(timings: dict[str, Any]) -> dict[str, float | None]:
    return {
        "targeted": timings["targeted_start"],
        "sent": _sent(timings),
        "first": timings["first_token_iteration"],
        "last": timings["last_token_iteration"],
        "end": timings["request_end"] or timings["resolve_end"],
    }


def _workload(strategy: dict[str, Any], rows: list[dict[str, Any]]) -> Workload:
    kind = strategy["type_"]
    if kind == "trace":
        raise ValueError("guidellm replayed a trace, which its report does not hold")
    return offered(
        f"guidellm-{kind}",
        rows,
        rate=strategy.get("rate") if kind in _SCHEDULED else None,
        burstiness=_SCHEDULED.get(kind),
        concurrency=1 if kind == "synchronous" else strategy.get("streams") or strategy.get("max_concurrency"),
    )
