"""What another tool's result becomes: a trial of ours, without anything that the file does not hold.

It has no energy, no health of the client, and only as much of the offered load as is recorded; what is missing stays None with the
reason. The window is the whole load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from energy.records import WindowEnergy
from loadgen.metrics.measuring.measure import measure_records
from loadgen.metrics.metrics import TrialMetrics
from loadgen.records.schema import COLUMN_TYPES, ClientHealth, RequestRecord, Trial
from loadgen.workloads.base import Workload


@dataclass(frozen=True)
class Imported:
    """One load of another tool. `rows` are those of requests.parquet, one dictionary per request."""

    trial: Trial
    rows: list[dict[str, Any]]
    metrics: TrialMetrics
    tool: str


def blank_row(index: int, request_id: str, sent_ns: int) -> dict[str, Any]:
    """A request that was sent and of which nothing else is known; it ends when it is sent."""
    row: dict[str, Any] = dict.fromkeys(COLUMN_TYPES)
    row |= {"request_id": request_id, "index": index, "group": index, "arrival_ns": [], "arrival_tokens": []}
    return row | {"scheduled_ns": sent_ns, "sent_ns": sent_ns, "end_ns": sent_ns}


def import_rows(
    rows: list[dict[str, Any]],
    workload: Workload,
    *,
    tool: str,
    url: str,
    model: str | None,
    started_at: str,
    without_joules: str,
) -> Imported:
    """A load from its requests; the first one was sent at 0. `without_joules` is the reason. Raises ValueError if none completed."""
    end = max(row["end_ns"] for row in rows)
    if all(row["error"] for row in rows):
        raise ValueError("no request was completed")
    trial = Trial(
        url=url,
        model=model or "not recorded",
        workload=workload,
        seed=0,
        window_start_ns=-1,  # outside the window; a failed request ends when it is sent
        window_end_ns=end,
        window_rule="whole",
        window_rules=2,
        first_sent_ns=0,
        last_end_ns=end,
        started_at=started_at,
        client=ClientHealth(cpu_fraction=None, loop_lag_p99_ms=None, schedule_lag_p99_ms=None),
        energy=WindowEnergy(start_ns=-1, end_ns=end, reason=without_joules),
    )
    return Imported(trial, rows, measure_records(trial, [RequestRecord(**row) for row in rows]), tool)


def offered(
    name: str,
    rows: Sequence[dict[str, Any]],
    *,
    rate: float | None = None,
    burstiness: float | None = None,
    concurrency: int | None = None,
) -> Workload:
    """The offered load, as far as it is recorded; without a rate or a concurrency all requests were sent at once.

    `burstiness` 1 is Poisson, infinity evenly spaced. Lengths are the measured ones, so that the workload stops naturally.
    """
    fields: dict[str, Any] = {"requests": len(rows)}
    if rate is not None and burstiness is not None:
        kind = {1.0: "poisson", float("inf"): "constant"}.get(burstiness, "burst")
        fields |= {"kind": kind, "rate": rate} | ({"burstiness": burstiness} if kind == "burst" else {})
    elif concurrency is not None:
        fields |= {"kind": "concurrency", "concurrency": concurrency}
    else:
        fields |= {"kind": "batch", "batch_size": len(rows)}
    for key in ("prompt_tokens", "output_tokens"):
        fields[key] = max(1, round(sum(row[key] or 0 for row in rows) / len(rows)))
    plain = "".join(c if c.isalnum() or c in "._-" else "-" for c in name).lstrip("._-") or "imported"
    return Workload.model_validate(fields | {"name": plain, "natural_stop": True, "warmup_requests": 0})
