"""Modelled CPU energy: CPU seconds x stated watts per core. An assumption by its nature, and never called measured."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from energy.meters.base import EnergyError, Metered, Reading
from energy.records import MeterInfo, MissingMeter

TICK_S = 0.01  # the kernel accounts CPU time in hundredths of a second


class ModelledCpuMeter:
    """CPU time of the processes that `process_ids` names at each read, times `watts_per_core`.

    A process that exists at the first read counts from then, one that starts later from its start. CPU time stays counted
    when its process ends; the time between the last read and the end is lost (at most one interval).
    """

    def __init__(self, watts_per_core: float, process_ids: Callable[[], list[int]]) -> None:
        if not 0 < watts_per_core < float("inf"):
            raise EnergyError(f"modelled_watts_per_core must be a number above 0, not {watts_per_core:g}")
        assumption = f"{watts_per_core:g} W per core, assumed"
        self.info = MeterInfo(
            source="modelled-cpu",
            domain="cpu-modelled",
            device="process",
            name=assumption,
            measured=False,
            basis=f"CPU seconds x {assumption}",
            refresh_s=TICK_S,
        )
        self._watts_per_core = watts_per_core
        self._process_ids = process_ids
        self._seconds: dict[psutil.Process, float] = {}  # CPU time last seen; as a key, a process is its id and start
        self._total_s = 0.0
        self._earlier: set[int] | None = None  # ids of all processes there were at the first read

    def read(self) -> Reading:
        """Joules since the first read. Never raises MeterLost: without processes the figure is constant."""
        before = time.monotonic_ns()
        first = self._earlier is None
        if self._earlier is None:
            self._earlier = set(psutil.pids())
        for pid in self._process_ids():
            try:
                process = psutil.Process(pid)
                times = process.cpu_times()
            except psutil.Error:
                continue  # it has ended since it was listed
            seconds = times.user + times.system
            unseen = seconds if first or pid in self._earlier else 0.0
            self._total_s += max(0.0, seconds - self._seconds.get(process, unseen))
            self._seconds[process] = seconds
        return Reading(before, time.monotonic_ns(), self._total_s * self._watts_per_core)


def model_cpu(metered: Metered) -> tuple[list[ModelledCpuMeter], list[MissingMeter]]:
    """The model, if watts per core are stated. Raises EnergyError for watts that are not above 0."""
    if metered.modelled_watts_per_core is None:
        return [], []
    return [ModelledCpuMeter(metered.modelled_watts_per_core, metered.process_ids)], []
