"""How often the figures of a GPU change: each is read as fast as it can be, alone."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pynvml

_INSTANT_POWER = 186  # a field
_PAUSE_S = 0.0002  # so that the driver is not kept busy by this alone


def _instant(handle: Any) -> float:
    value = pynvml.nvmlDeviceGetFieldValues(handle, [(_INSTANT_POWER, 0)])[0]
    if value.nvmlReturn != pynvml.NVML_SUCCESS:
        raise pynvml.NVMLError(value.nvmlReturn)
    return float(value.value.uiVal)


_FIGURES: dict[str, Callable[[Any], float]] = {
    "counter": pynvml.nvmlDeviceGetTotalEnergyConsumption,
    "instant power": _instant,
    "average power": pynvml.nvmlDeviceGetPowerUsage,
}


def changes(handle: Any, seconds: float) -> dict[str, dict[str, Any]]:
    """For each figure the time between two changes: median, shortest and longest; `error` where it cannot be read."""
    return {name: _changes(partial(read, handle), seconds / len(_FIGURES)) for name, read in _FIGURES.items()}


def _changes(read: Callable[[], float], seconds: float) -> dict[str, Any]:
    moments, reads = [], 0
    began = time.perf_counter()
    try:
        last = read()
        while (now := time.perf_counter()) < began + seconds:
            value, reads = read(), reads + 1
            if value != last:
                moments.append(now)
            last = value
            time.sleep(_PAUSE_S)
    except pynvml.NVMLError as error:
        return {"error": f"{error}"}
    steps = [after - before for before, after in itertools.pairwise(moments)]
    found: dict[str, Any] = {"reads": reads, "changes": len(moments)}
    if steps:
        found |= {"median_s": statistics.median(steps), "shortest_s": min(steps), "longest_s": max(steps)}
    return found
