"""Records and trials with stated times, for tests of what is computed from them."""

from __future__ import annotations

import json

from energy.records import WindowEnergy
from loadgen.metrics.measuring.measure import measure_records
from loadgen.metrics.summary import summarize
from loadgen.records.schema import ClientHealth, RequestRecord, Trial
from loadgen.workloads.base import Workload
from reports.checks.findings import check_trial

MS = 1_000_000
# Every kind of load, a small one: what a kind needs beside `workload`'s own. Prompts of up to 30 tokens or words, 8 tokens answered.
EVERY_KIND = {
    "single": {},
    "batch": {},
    "concurrency": {},
    "constant": {"rate": 20.0},
    "poisson": {"rate": 20.0},
    "burst": {"rate": 20.0, "burstiness": 0.5},
    "on-off": {"rate": 30.0, "on_s": 0.1, "off_s": 0.1},
    "ramp": {"rate": 10.0, "end_rate": 30.0, "duration_s": 0.3},
    "mix": {"rate": 20.0, "parts": [{"name": "short", "prompt_tokens": 8}, {"name": "long", "prompt_tokens": 30}]},
    "sessions": {"concurrency": 2, "turns": 2, "prompt_as": "words"},
    "trace": {"requests": None},
}


def flags_of(trial, records):
    return check_trial(trial, measure_records(trial, records))


def summary_of(trial, records, flags=()):
    return summarize(trial, measure_records(trial, records), flags)


def record(index, sent, first, last, *, end=None, tokens=3, group=None, **other):
    """A completed request; times in ms. Its tokens are spread evenly from `first` to `last`."""
    step = (last - first) / (tokens - 1) if tokens > 1 else 0
    arrivals = [round((first + n * step) * MS) for n in range(tokens)]
    given = {
        "request_id": f"0-{index}",
        "index": index,
        "group": index if group is None else group,
        "scheduled_ns": sent * MS,
        "sent_ns": sent * MS,
        "headers_ns": first * MS,
        "first_token_ns": arrivals[0],
        "last_token_ns": arrivals[-1],
        "end_ns": (last if end is None else end) * MS,
        "arrival_ns": arrivals,
        "arrival_tokens": list(range(1, tokens + 1)),
        "asked_tokens": tokens,
        "prompt_tokens": 5,
        "output_tokens": tokens,
        "counted_by": "server-continuous-usage",
        "finish_reason": "length",
        "status": 200,
    }
    return RequestRecord(**{**given, **other})


def failed(index, sent, end, error="HTTP 500: no"):
    return RequestRecord(f"0-{index}", index, index, sent * MS, sent_ns=sent * MS, end_ns=end * MS, error=error)


def workload(kind="single", **other):
    needs = {"batch": {"batch_size": 2}, "concurrency": {"concurrency": 2}, "constant": {"rate": 10.0}}
    needs |= {"poisson": needs["constant"], "burst": {"rate": 10.0, "burstiness": 0.5}, "sweep": {"rate": 1.0}}
    stop = {} if "duration_s" in other else {"requests": 4}
    return Workload.model_validate({"name": kind, "kind": kind, **stop, **needs.get(kind, {}), **other})


def one_of_every_kind(kind, folder, **other):
    """A load of a kind in `EVERY_KIND`; a trace's file is written into `folder`."""
    given = {"output_tokens": 8, "prompt_tokens": 12, **EVERY_KIND[kind], **other}
    if kind == "trace":
        rows = [{"timestamp": 50 * n, "input_length": 10 + n, "output_length": 8, "hash_ids": []} for n in range(4)]
        given["trace"] = folder / "trace.jsonl"
        given["trace"].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return workload(kind, **given)


def trial(start, end, *, load=None, rules=2, **energy):
    """A trial whose window is start to end, ms, cut by a version of the window rules."""
    return Trial(
        url="http://127.0.0.1:1",
        model="m",
        workload=load or workload(),
        seed=0,
        window_start_ns=start * MS,
        window_end_ns=end * MS,
        window_rule="whole",
        window_rules=rules,
        first_sent_ns=start * MS,
        last_end_ns=end * MS,
        started_at="2026-01-01T00:00:00+00:00",
        client=ClientHealth(cpu_fraction=0.1, loop_lag_p99_ms=0.1, schedule_lag_p99_ms=None),
        energy=WindowEnergy(start_ns=start * MS, end_ns=end * MS, **energy),
    )
