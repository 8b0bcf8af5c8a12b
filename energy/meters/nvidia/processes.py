"""Who else computes on a GPU: NVML's process ids, held against those of the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pynvml

from energy.meters.nvidia.answers import first_answer


class Neighbours:
    """The processes on one GPU that are not `own`'s.

    In a container NVML's ids may be the host's, which mean nothing there, and processes outside may not be listed at all: if
    none of our own is among them, nothing is known; if one is, those of the same namespace are.
    """

    def __init__(self, handle: Any, own: Callable[[], list[int]]) -> None:
        self._handle = handle
        self._own = own  # a walk over all processes, so it is asked only when others come or go
        self._seen: frozenset[int] = frozenset()
        self._others: list[int] | None = None

    def others(self) -> list[int] | None:
        """Their ids now; None if they are not known."""
        found = first_answer(
            lambda: pynvml.nvmlDeviceGetComputeRunningProcesses_v3(self._handle),
            lambda: pynvml.nvmlDeviceGetComputeRunningProcesses_v2(self._handle),
        )
        if found is None:
            return None
        running = frozenset(process.pid for process in found)
        if running != self._seen:
            self._seen = running
            own = running & frozenset(self._own())
            self._others = sorted(running - own) if own else None
        return self._others
