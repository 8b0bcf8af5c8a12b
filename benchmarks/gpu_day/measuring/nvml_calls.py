"""Stage a: every NVML call that metering makes or could make, one by one, and how often the counter moves.

`a/nvml.json` has for each call and GPU its value or the library's error, and its median time; `a/nvidia-smi.txt` what that prints.
"""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pynvml

from benchmarks.gpu_day.measuring.polling import changes
from benchmarks.gpu_day.profiles import own_folder, stage_parser

_TIMED = 5
_FIELDS = {83: "energy", 186: "instant power", 185: "average power"}
_SCOPES = {0: "GPU", 1: "module", 2: "memory"}
_SYSTEM_CALLS = ("DriverVersion", "NVMLVersion", "CudaDriverVersion")
_DEVICE_CALLS = (
    "Name", "UUID", "VbiosVersion", "Architecture", "MigMode", "VirtualizationMode", "PersistenceMode", "PowerManagementLimit",
    "PowerManagementDefaultLimit", "PowerManagementLimitConstraints", "EnforcedPowerLimit", "PowerUsage",
    "TotalEnergyConsumption", "CurrentClocksEventReasons", "CurrentClocksThrottleReasons", "UtilizationRates", "MemoryInfo",
    "PerformanceState", "EccMode", "ComputeRunningProcesses", "ComputeRunningProcesses_v2", "ComputeRunningProcesses_v3",
)  # fmt: skip


def main() -> None:
    """Write what is there; exit with 1, after that, if NVML does not start."""
    options = stage_parser(__doc__).parse_args()
    folder = own_folder(options.work, "a")
    if smi := shutil.which("nvidia-smi"):
        done = subprocess.run([smi, "-q"], capture_output=True, text=True, timeout=30, check=False)
        (folder / "nvidia-smi.txt").write_text(done.stdout + done.stderr)
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        _write(folder, {"error": f"nvmlInit: {error}"})
        raise SystemExit(f"nvmlInit: {error}") from None
    system = {name: _call(partial(_system, name)) for name in _SYSTEM_CALLS}
    found: dict[str, Any] = {"system": system, "gpus": []}
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        found["gpus"].append({name: _call(call) for name, call in _calls(handle)})
        _write(folder, found)
    seconds = min(3.0, options.seconds / 6)
    for index, gpu in enumerate(found["gpus"]):
        gpu["changes"] = changes(pynvml.nvmlDeviceGetHandleByIndex(index), seconds)
    _write(folder, found)
    for index, gpu in enumerate(found["gpus"]):
        refused = [name for name, answer in gpu.items() if "error" in answer]
        print(f"GPU {index}: {gpu['Name'].get('value')}; {len(gpu) - len(refused)} calls answered, refused: {refused}")


def _calls(handle: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    for name in _DEVICE_CALLS:
        yield name, partial(_device, name, handle)
    for name in ("Temperature", "TemperatureV"):
        yield name, partial(_device, name, handle, pynvml.NVML_TEMPERATURE_GPU)
    for name in ("ClockInfo", "MaxClockInfo"):
        yield f"{name} SM", partial(_device, name, handle, pynvml.NVML_CLOCK_SM)
        yield f"{name} memory", partial(_device, name, handle, pynvml.NVML_CLOCK_MEM)
    for field, what in _FIELDS.items():
        for scope, part in _SCOPES.items():
            yield f"field {field}, {what} of the {part}", partial(_field, handle, field, scope)
    yield "Samples of power", partial(_samples, handle)


def _device(name: str, *arguments: Any) -> Any:
    return getattr(pynvml, f"nvmlDeviceGet{name}")(*arguments)


def _field(handle: Any, field: int, scope: int) -> dict[str, Any]:
    value = pynvml.nvmlDeviceGetFieldValues(handle, [(field, scope)])[0]
    if value.nvmlReturn != pynvml.NVML_SUCCESS:
        raise pynvml.NVMLError(value.nvmlReturn)
    return {"type": value.valueType, "unsigned": value.value.uiVal, "long": value.value.ullVal}


def _samples(handle: Any) -> dict[str, Any]:
    kind, samples = pynvml.nvmlDeviceGetSamples(handle, pynvml.NVML_TOTAL_POWER_SAMPLES, 0)
    stamps = sorted(one.timeStamp for one in samples)
    steps = [(b - a) / 1e6 for a, b in itertools.pairwise(stamps)]
    return {
        "type": kind,
        "count": len(stamps),
        "span_s": (stamps[-1] - stamps[0]) / 1e6 if stamps else None,
        "median_step_s": statistics.median(steps) if steps else None,
        "newest_behind_the_wall_clock_s": time.time() - stamps[-1] / 1e6 if stamps else None,
    }


def _call(call: Callable[[], Any]) -> dict[str, Any]:
    """Value and median microseconds, or the error."""
    took = []
    try:
        for _ in range(_TIMED):
            began = time.perf_counter_ns()
            value = call()
            took.append((time.perf_counter_ns() - began) / 1e3)
    except Exception as error:  # noqa: BLE001 - a module and a library of different versions raise more than NVMLError
        return {"error": f"{error}", "code": getattr(error, "value", None)}
    return {"value": _plain(value), "median_us": statistics.median(took)}


def _system(name: str) -> Any:
    return getattr(pynvml, f"nvmlSystemGet{name}")()


def _plain(value: Any) -> Any:
    """The value as JSON has it."""
    if isinstance(value, int | float | str | bool | None):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return {name: _plain(getattr(value, name)) for name, _ in getattr(value, "_fields_", [])} or str(value)


def _write(folder: Path, found: dict[str, Any]) -> None:
    (folder / "nvml.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
