"""The cost of loading a model: seconds, and memory of the machine and of its GPUs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil
import pynvml


@dataclass(frozen=True)
class Footprint:
    """Figures of one loading."""

    seconds: float
    resident_bytes: int  # of all the engine's processes; pages they share count once for each
    gpu_bytes: int | None  # None: no NVIDIA GPU to ask

    def __str__(self) -> str:
        gpu = "" if self.gpu_bytes is None else f", {self.gpu_bytes / 1e9:.2f} GB of GPU memory"
        return f"loaded in {self.seconds:.1f} s; {self.resident_bytes / 1e9:.2f} GB resident{gpu}"


class Loading:
    """Measures one loading: create it before the engine, call `done` once that has started."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._gpu_before = _gpu_bytes()

    @property
    def seconds(self) -> float:
        """Since this was made."""
        return time.monotonic() - self._begun

    def done(self, process_ids: Sequence[int]) -> Footprint:
        """The cost. GPU memory is that of whole devices, and includes what other processes allocated meanwhile."""
        gpu_now = _gpu_bytes()
        gpu = None if gpu_now is None or self._gpu_before is None else gpu_now - self._gpu_before
        return Footprint(self.seconds, sum(map(_resident_bytes, process_ids)), gpu)


def _resident_bytes(process_id: int) -> int:
    with suppress(psutil.NoSuchProcess):  # a process that has ended holds none
        return int(psutil.Process(process_id).memory_info().rss)
    return 0


def _gpu_bytes() -> int | None:
    """Memory in use on all NVIDIA GPUs; None if there are none."""
    try:
        pynvml.nvmlInit()
        devices = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return sum(int(pynvml.nvmlDeviceGetMemoryInfo(device).used) for device in devices) if devices else None
    except pynvml.NVMLError:
        return None
