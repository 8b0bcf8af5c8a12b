"""Other processes on a GPU: NVML's process ids, compared with the engine's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pynvml

from energy.meters.nvidia.answers import first_answer


class Neighbours:
    """The processes on one GPU that are not `own`'s.

    In a container NVML's ids may be the host's, which have no meaning there, and processes outside may not be listed. So the
    ids count only if one of `own` is among them: then they are of the same namespace.
    """

    def __init__(self, handle: Any, own: Callable[[], list[int]]) -> None:
        self._handle = handle
        self._own = own  # lists all processes, so it is called only after the GPU's list has changed
        self._seen: frozenset[int] = frozenset()
        self._others: list[int] | None = None

    def others(self) -> list[int] | None:
        """Their ids; None if they are not known."""
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


def clients_of_mps(handle: Any) -> int:
    """How many processes share one GPU through MPS; 0 where that is not known."""
    return len(first_answer(lambda: pynvml.nvmlDeviceGetMPSComputeRunningProcesses_v3(handle)) or ())
