"""A small study in the layout of the published data, with inserted effects."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reports.published.study import RUNS, TABLE

WIDTHS = (8192, 7373, 6554, 4096)
GRID = 0.4  # kg CO2e per kWh
Row = dict[str, Any]


def run_rows(change: Callable[[Row], None] = lambda _: None) -> list[Row]:
    """Two workloads of one model at four widths, three runs each: every width costs and takes the same.

    Claimed energy is kg of CO2e, and processor power is a constant. `change` may alter each row.
    """
    rows = []
    for workload, batch in (("short_b1", 1), ("long_b8", 8)):
        for width in WIDTHS:
            for number in (1, 2, 3):
                row = {
                    "model": "Llama-X", "intermediate_size": width, "workload": workload, "batch_size": batch,
                    "num_prompts": 100, "run": number, "used_in_published_mean": 1,
                    # A noise of 0.1 %, which must not affect any comparison.
                    "total_new_tokens": 5000, "throughput_tok_s": 50 * batch * (1 + 0.001 * ((number + width) % 3)),
                    "net_j": 1.0 * (1 + 0.001 * ((number * width) % 3)), "window_s": 40.0 + number,
                    "temperature": 70, "gpu_w": 60 + number,
                }  # fmt: skip
                change(row)
                rows.append(_finished(row))
    return rows


def _finished(row: Row) -> Row:
    """The columns that follow from the others, and the names of the layout."""
    tokens, window = row["total_new_tokens"], row.pop("window_s")
    cpu, ram, gpu = (watts * window / 3.6e6 for watts in (row.pop("cpu_w", 42.5), 20.0, row.pop("gpu_w")))
    raw = row.pop("grid", GRID) * (cpu + ram + gpu)
    joules = row.pop("net_j")
    latency = 1e3 * tokens / row["num_prompts"] / row["throughput_tok_s"]
    single = row["batch_size"] == 1
    net = joules * tokens / 3.6e6
    return row | {
        "inference_duration_s": window, "total_loop_time_s": 0.9 * window, "gpu_temperature_c": row.pop("temperature"),
        "ttlt_ms": latency if single else "", "batch_time_ms": "" if single else 8 * latency,
        "published_energy_raw_claimed_kwh": raw, "published_energy_idle_claimed_kwh": raw / 2,
        "published_energy_net_claimed_kwh": net, "published_joules_per_token": joules,
        "codecarbon_total_energy_kwh": cpu + ram + gpu, "codecarbon_cpu_energy_kwh": cpu,
        "codecarbon_gpu_energy_kwh": gpu, "codecarbon_ram_energy_kwh_derived": ram,
    }  # fmt: skip


def write_study(folder: Path, rows: list[Row], table: dict[str, Any] | None = None) -> Path:
    """The folder that --data names."""
    folder.mkdir(exist_ok=True)
    with (folder / RUNS).open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    if table is not None:
        (folder / TABLE).write_text(json.dumps(table))
    return folder


def quality_table(model: str = "Llama-3.2-3B", **metrics: list[float]) -> dict[str, Any]:
    """One model with these scores at its widths."""
    configurations = [
        {
            "intermediate_size": width, "pruning_percentage": 0, "expansion_ratio": width / 2048, "parameters_millions": 1.0,
            "quality": {name: values[i] for name, values in metrics.items()},
        }
        for i, width in enumerate((8192, 7373, 6554, 5735, 4916, 4096, 3277)[: len(next(iter(metrics.values())))])
    ]  # fmt: skip
    own = {
        "model": model,
        "hidden_size": 2048,
        "base_intermediate_size": 8192,
        "configurations": configurations,
    }
    return {"models": [own]}
