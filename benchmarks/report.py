"""How long a report of many request records takes, how much memory, and how large the page gets.

    .venv/bin/python -P benchmarks/report.py                    a million requests of 128 tokens, in ten trials
    .venv/bin/python -P benchmarks/report.py --trials 1         the same in a single trial, which is the hardest on memory

`prunebench report` runs as a process of its own; its peak memory is what the kernel says of it, or of
this script when it started it, if that was more. The run folder is made up:
two configurations, one workload, arrivals every 10 ms give or take.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from energy.records import WindowEnergy
from loadgen.records.schema import COLUMN_TYPES, ClientHealth, Trial
from loadgen.workloads.closed_loop import ConcurrencyLoad
from reports.runs.records.cells import TrialCell
from reports.runs.records.configuration import ConfigurationInfo
from reports.runs.records.run import RunInfo

LIMIT_S, LIMIT_BYTES = 60, 2 * 10**9
WIDTHS = (8192, 4096)
ROWS_AT_ONCE = 10_000
TYPES = {"string": pa.string(), "int64": pa.int64(), "int32": pa.int32()}
TYPES |= {f"list {kind}": pa.list_(TYPES[kind]) for kind in ("int64", "int32")}
REQUEST_SCHEMA = pa.schema([(name, TYPES[kind]) for name, kind in COLUMN_TYPES.items()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000, help="in all trials together")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--trials", type=int, default=10, help="even, or 1")
    parser.add_argument("--output", type=Path, help="write the figures there as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        write_run(run, options.requests, options.tokens, options.trials)
        began = time.perf_counter()
        command = [sys.executable, "-m", "prunebench", "report", str(run)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=540)
        seconds = time.perf_counter() - began
        figures = {
            "requests": options.requests,
            "tokens_per_request": options.tokens,
            "trials": options.trials,
            "records_bytes": sum(file.stat().st_size for file in run.glob("trials/*/requests.parquet")),
            "seconds": round(seconds, 2),
            "limit_seconds": LIMIT_S,
            "peak_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
            "limit_bytes": LIMIT_BYTES,
            "page_bytes": (run / "report.html").stat().st_size,
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
        }
    text = json.dumps(figures, indent=1)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")
    sys.exit(seconds > LIMIT_S or figures["peak_bytes"] > LIMIT_BYTES)


def write_run(run: Path, requests: int, tokens: int, trials: int) -> None:
    """Trials have the same records, so that they are made once and linked; reading them costs what it would."""
    (run / "configurations").mkdir(parents=True)
    (run / "failures").mkdir()
    widths = WIDTHS if trials > 1 else WIDTHS[:1]
    labels = [f"width-{width}" for width in widths]
    info = RunInfo(
        name="many-records", created_at="2026-01-01T00:00:00+00:00", prunebench_version="benchmark", baseline=labels[0],
        labels=labels, workloads=["many"], blocks=max(1, trials // 2), seed=0, status="complete",
    )  # fmt: skip
    (run / "run.json").write_text(info.model_dump_json())
    for label, width in zip(labels, widths, strict=True):
        (run / "configurations" / f"{label}.json").write_text(configuration(label, width).model_dump_json())
    first: Path | None = None
    for number in range(trials):
        cell = TrialCell(block=number // 2, label=labels[number % len(labels)], workload="many", order=number)
        folder = run / "trials" / f"{cell.block}-{cell.label}-many"
        folder.mkdir(parents=True)
        if first is None:
            first = folder / "requests.parquet"
            end_ns = write_records(first, requests // trials, tokens)
        else:
            os.link(first, folder / "requests.parquet")
        (folder / "cell.json").write_text(cell.model_dump_json())
        (folder / "trial.json").write_text(trial(cell.label, requests // trials, tokens, end_ns).model_dump_json())


def configuration(label: str, width: int) -> ConfigurationInfo:
    return ConfigurationInfo(
        label=label, is_baseline=width == WIDTHS[0], model=label, checkpoint=label, width=width, hidden_size=2048,
        expansion_ratio=width / 2048, pruning_percentage=100 * (1 - width / WIDTHS[0]), parameters=10**9,
        checkpoint_bytes=2 * 10**9, engine="none",
    )  # fmt: skip


def trial(label: str, requests: int, tokens: int, end_ns: int) -> Trial:
    workload = ConcurrencyLoad(name="many", concurrency=64, requests=requests, output_tokens=tokens)
    return Trial(
        url="http://127.0.0.1", model=label, workload=workload, seed=0, window_start_ns=0, window_end_ns=end_ns,
        window_rule="whole", window_rules=2, first_sent_ns=0, last_end_ns=end_ns, started_at="2026-01-01T00:00:00+00:00",
        client=ClientHealth(cpu_fraction=0.1, loop_lag_p99_ms=0.1, schedule_lag_p99_ms=None),
        energy=WindowEnergy(start_ns=0, end_ns=end_ns, reason="made up"),
    )  # fmt: skip


def write_records(path: Path, requests: int, tokens: int) -> int:
    """Returns when the last of them ended."""
    random = np.random.default_rng(0)
    end_ns = 0
    with pq.ParquetWriter(path, REQUEST_SCHEMA, compression="zstd", compression_level=1) as writer:
        for first in range(0, requests, ROWS_AT_ONCE):
            count = min(ROWS_AT_ONCE, requests - first)
            sent = (first + np.arange(count)) * 20_000_000
            gaps = random.integers(9_500_000, 10_500_000, (count, tokens))
            gaps[:, 0] += 40_000_000
            arrivals = sent[:, None] + np.cumsum(gaps, axis=1)
            writer.write_table(batch(first, sent, arrivals))
            end_ns = int(arrivals[:, -1].max())
    return end_ns


def batch(first: int, sent: np.ndarray, arrivals: np.ndarray) -> pa.Table:
    count, tokens = arrivals.shape
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * tokens)
    cumulative = np.tile(np.arange(1, tokens + 1, dtype=np.int32), count)
    number = np.arange(first, first + count)
    columns = {
        "request_id": pa.array([str(n) for n in number]),
        "index": number, "group": number, "scheduled_ns": sent, "sent_ns": sent, "headers_ns": sent + 500_000,
        "first_token_ns": arrivals[:, 0], "last_token_ns": arrivals[:, -1], "end_ns": arrivals[:, -1] + 100_000,
        "arrival_ns": pa.ListArray.from_arrays(offsets, pa.array(arrivals.ravel())),
        "arrival_tokens": pa.ListArray.from_arrays(offsets, pa.array(cumulative)),
        "prompt_tokens": np.full(count, 128, np.int32), "output_tokens": np.full(count, tokens, np.int32),
        "counted_by": pa.array(["server-usage"] * count), "finish_reason": pa.array(["length"] * count),
        "status": np.full(count, 200, np.int32),
    }  # fmt: skip
    made = {f.name: columns[f.name] if f.name in columns else pa.nulls(count, f.type) for f in REQUEST_SCHEMA}
    return pa.table(made, schema=REQUEST_SCHEMA)


if __name__ == "__main__":
    main()
