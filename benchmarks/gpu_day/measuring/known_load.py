"""Stage b: the GPU at rest and under matrix products that go on and off, read by every source of its energy at once.

`b/energy.json`: for each source and window joules with their interval and watts, the sources in pairs, how often each figure
changes under load, and how long after the load each source's power passes half of the step. `b/watch.jsonl` is what
`prunebench energy watch` printed meanwhile, `b/trace.json` the readings.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pynvml

from benchmarks.gpu_day.measuring.lag import lag
from benchmarks.gpu_day.measuring.matrices import Matrices
from benchmarks.gpu_day.measuring.polling import changes
from benchmarks.gpu_day.profiles import own_folder, stage_parser
from energy.meters.nvidia.gpus import find_gpus
from energy.meters.nvidia.nvml import SOURCES, NvmlMeter, instant_watts
from energy.meters.nvidia.samples import PowerSamples
from energy.records import EnergyTrace, GpuFacts, MeterEnergy
from energy.sampler import Sampler
from energy.window import meter_energy

_INTERVAL_S = 0.02
_SHARE = 0.6  # of the stage's time that the phases take
_POLL_S = 1.5  # of the figures' changes, under load
_SETTLE_S = 1.0  # at the start of a window, for figures that are the mean of the last second
_WAVES, _WAVE_S = 8, 0.5  # that many times on and off at most, each for that long at least
_NAMES = ("counter", "counter as a field", "samples", "instant", "average", "module")  # of SOURCES


def main() -> None:
    """Exit with 1 if there is no GPU to meter."""
    options = stage_parser(__doc__).parse_args()
    folder = own_folder(options.work, "b")
    gpus, missing = find_gpus()
    if not gpus:
        raise SystemExit(f"no GPU can be metered: {'; '.join(one.reason for one in missing)}")
    facts = gpus[0].facts
    handle = pynvml.nvmlDeviceGetHandleByIndex(facts.index)
    meters, refused = _every_source(facts, handle)
    load = Matrices(options.profile.matrix, on_gpu=not options.profile.is_rehearsal)
    unit = min(options.profile.phases_s, _SHARE * options.seconds - _POLL_S) / 5
    watching = _watch(folder / "watch.jsonl", 5 * unit)
    sampler = Sampler(list(meters.values()), [], _INTERVAL_S)
    windows: dict[str, tuple[int, int]] = {}
    edges: list[tuple[int, bool]] = []
    with load:
        time.sleep(_SETTLE_S)
        windows["idle"] = _phase(unit)
        edges.append((load.start(), True))
        windows["load"] = _phase(unit)
        polled = changes(handle, _POLL_S)
        edges.append((load.stop(), False))
        began = time.monotonic_ns()
        waves = max(1, min(_WAVES, int(unit / _WAVE_S)))
        for _ in range(waves):
            time.sleep(unit / waves)
            edges.append((load.start(), True))
            time.sleep(unit / waves)
            edges.append((load.stop(), False))
        windows["waves"] = (began, time.monotonic_ns())
        windows["idle again"] = _phase(unit)
    time.sleep(_SETTLE_S)
    windows["all"] = (windows["idle"][0], windows["idle again"][1])
    trace = sampler.trace(windows["idle"][0])
    sampler.stop()
    watching.wait()
    table = _table(trace, list(meters), windows)
    levels = [
        table[name]["counter" if "counter" in meters else next(iter(meters))]["watts"] for name in ("idle", "load")
    ]
    found = {
        "gpu": facts.model_dump(mode="json"),
        "refused": refused,
        "changes_under_load": polled,
        "windows_s": {name: (end - start) / 1e9 for name, (start, end) in windows.items()},
        "energy": table,
        "pairs": _pairs(table),
        "lag": {name: lag(one, edges, *levels) for name, one in zip(meters, trace.meters, strict=True)},
        "load": load.summary(),
        "conditions": [one.model_dump(mode="json") for one in trace.conditions],
    }
    (folder / "energy.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / "trace.json").write_text(
        json.dumps({"edges": edges, "windows": windows, **trace.model_dump(mode="json")})
    )
    for name, row in table["all"].items():
        print(f"{name}: {row['watts']} W over the whole, lag {found['lag'][name]}")  # type: ignore[index]


def _every_source(facts: GpuFacts, handle: Any) -> tuple[dict[str, NvmlMeter], dict[str, str]]:
    """A meter for each source that answers, and why the others do not."""
    meters: dict[str, NvmlMeter] = {}
    refused: dict[str, str] = {}
    for name, source in zip(_NAMES, SOURCES, strict=True):
        try:
            read = PowerSamples(handle) if source.read is None else source.read(handle)
            if not isinstance(read, PowerSamples):
                read()
        except (pynvml.NVMLError, LookupError) as error:
            refused[name] = f"{error}"
        else:
            beside = instant_watts(handle) if source.kind == "counter" else None
            meters[name] = NvmlMeter(facts, source, handle, read, beside, own_processes=list)
    return meters, refused


def _watch(file: Path, seconds: float) -> subprocess.Popen[bytes]:
    """`prunebench energy watch`, meanwhile."""
    words = [sys.executable, "-P", "-m", "prunebench", "energy", "watch", "--json", "--duration", f"{seconds:.1f}"]
    with file.open("wb") as output:
        return subprocess.Popen(words, stdout=output)


def _phase(seconds: float) -> tuple[int, int]:
    """Let time pass; the window without the time in which averages settle, and without its end: they look ahead to what comes."""
    settle_ns = round(min(_SETTLE_S, seconds / 3) * 1e9)
    start = time.monotonic_ns() + settle_ns
    time.sleep(seconds)
    return start, time.monotonic_ns() - settle_ns // 2


Row = dict[str, Any]


def _table(trace: EnergyTrace, names: list[str], windows: dict[str, tuple[int, int]]) -> dict[str, dict[str, Row]]:
    """Window → source → joules, their 95 % half-width, watts, counter against the power beside it."""
    return {
        window: {name: _row(meter_energy(meter, start, end)) for name, meter in zip(names, trace.meters, strict=True)}
        for window, (start, end) in windows.items()
    }


def _row(energy: MeterEnergy) -> Row:
    return {
        "joules": energy.joules,
        "uncertainty_joules": energy.uncertainty_joules,
        "watts": energy.mean_watts,
        "counter_over_power_minus_1": energy.disagreement,
        "refresh_s": energy.info.refresh_s,
        "reason": energy.reason,
    }


def _pairs(table: dict[str, dict[str, Row]]) -> list[Row]:
    """Every two sources over the same window: the ratio of their joules, and whether both intervals together explain it."""
    found = []
    for window, rows in table.items():
        for one, other in itertools.combinations(rows, 2):
            a, b = rows[one], rows[other]
            if a["joules"] is None or not b["joules"]:
                continue
            half = sum((row["uncertainty_joules"] or 0.0) ** 2 for row in (a, b)) ** 0.5
            ratio, within = a["joules"] / b["joules"], abs(a["joules"] - b["joules"]) <= half
            found.append({"window": window, "sources": [one, other], "ratio": ratio, "within_intervals": within})
    return found


if __name__ == "__main__":
    main()
