"""The day's figures on one page, from what its stages wrote; what is missing is left out, and `stages.json` says why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def summary(work: Path) -> str:
    """Markdown."""
    lines = ["# A day on a GPU", ""]
    for part in (_calls(work), _energy(work), _runs(work), _serving(work), _pruning(work)):
        lines += [*part, ""]
    return "\n".join(lines)


def _calls(work: Path) -> Iterator[str]:
    for number, gpu in enumerate(_read(work / "a" / "nvml.json").get("gpus", [])):
        refused = [f"{name} ({answer['error']})" for name, answer in gpu.items() if "error" in answer]
        yield f"GPU {number}: {gpu['Name'].get('value')}. Refused: {', '.join(refused) or 'nothing'}."
    driver = _read(work / "a" / "nvml.json").get("system", {}).get("DriverVersion", {}).get("value")
    if driver:
        yield f"Driver {driver}."


def _energy(work: Path) -> Iterator[str]:
    found = _read(work / "b" / "energy.json")
    if not found:
        return
    yield from _table("source", "window", "J", "± J", "W", "counter / power - 1", header=True)
    for window, rows in found["energy"].items():
        for source, row in rows.items():
            keys = ("joules", "uncertainty_joules", "watts", "counter_over_power_minus_1")
            yield from _table(source, window, *(row[key] if row[key] is not None else row["reason"] for key in keys))
    yield ""
    yield from _table("source", "load to reading, s", "longest", "edges seen", header=True)
    for source, lag in found["lag"].items():
        yield from _table(source, lag.get("median_s", lag.get("reason")), lag.get("longest_s"), lag.get("seen"))
    yield ""
    yield from _table("figure", "changes every, s", "longest", header=True)
    for figure, row in found["changes_under_load"].items():
        yield from _table(figure, row.get("median_s", row.get("error")), row.get("longest_s"))
    apart = [pair for pair in found["pairs"] if not pair["within_intervals"]]
    yield ""
    yield f"{len(found['pairs']) - len(apart)} of {len(found['pairs'])} pairs of sources agree within their intervals."
    for pair in apart:
        yield f"- {' / '.join(pair['sources'])}, {pair['window']}: {pair['ratio']:.4f}"


def _runs(work: Path) -> Iterator[str]:
    for file in sorted(work.glob("runs/*/cells.json")):
        yield f"## {file.parent.name}"
        yield ""
        yield from _table("configuration", "load", "J/token", "ratio", "from", "to", "tokens/s", "source", header=True)
        for row in json.loads(file.read_text()):
            joules = [f"joules_per_output_token{end}" for end in ("", "_ratio", "_ratio_low", "_ratio_high")]
            figures = [row.get(key) for key in (*joules, "output_tokens_per_s", "energy_source")]
            if figures[0] is None:
                figures[0] = row.get("joules_per_output_token_reason")
            yield from _table(row["label"], row["workload"], *figures)
        yield ""


def _serving(work: Path) -> Iterator[str]:
    for file in sorted(work.glob("e/*.json")):
        yield f"## Server beside engine: {file.stem}"
        yield ""
        yield from _table(
            "streams", "system", "tokens/s", "of the engine's", "from", "to", "median TTFT, ms", header=True
        )
        for streams, systems in sorted(_read(file)["summary"].items(), key=lambda one: int(one[0])):
            for name, row in systems.items():
                ratio = (row["ratio_to_engine"], *row["ratio_interval"])
                yield from _table(streams, name, row["tokens_per_second"], *ratio, row["median_ttft_ms"])
        yield ""


def _pruning(work: Path) -> Iterator[str]:
    found = _read(work / "f" / "joules.json")
    if found:
        joules = found["energy"]["gross_joules"]
        cost = f"{joules:.0f} J" if joules is not None else f"no joules: {found['energy']['reason']}"
        yield f"Calibrated prune with a refit: status {found['status']}, {found['wall_s']:.1f} s, {cost}."


def _read(file: Path) -> dict[str, Any]:
    """What a stage wrote; empty if it did not, or not all."""
    try:
        found: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found


def _table(*cells: object, header: bool = False) -> Iterator[str]:
    yield f"| {' | '.join(_cell(one) for one in cells)} |"
    if header:
        yield f"|{'---|' * len(cells)}"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "—" if value is None else str(value).replace("|", "/")
