"""The synthetic engine's power curve: joules are known exactly at any moment."""

from __future__ import annotations

import threading
import time

from energy.meters.base import Reading
from energy.records import MeterInfo


class SyntheticMeter:
    """The power curve as a meter: joules are the exact integral. Read from the sampler's thread, set from the loop's."""

    def __init__(self, idle_watts: float, active_watts: float) -> None:
        self._idle_watts = idle_watts
        self._active_watts = active_watts
        self._watts = idle_watts
        self._joules = 0.0
        self._since_ns = time.monotonic_ns()
        self._lock = threading.Lock()

    @property
    def info(self) -> MeterInfo:
        """A counter without refresh interval."""
        return MeterInfo(
            source="synthetic",
            domain="synthetic",
            simulated=True,
            device="synthetic",
            name=f"{self._idle_watts:g} W + {self._active_watts:g} W per running request",
            refresh_s=0.0,
        )

    def set_running(self, requests: int) -> None:
        """Note that `requests` run from now on."""
        with self._lock:
            self._settle()
            self._watts = self._idle_watts + self._active_watts * requests

    def read(self) -> Reading:
        """Joules since the meter was made, and the power now."""
        with self._lock:
            now_ns = self._settle()
            return Reading(before_ns=now_ns, after_ns=now_ns, joules=self._joules, watts=self._watts)

    def _settle(self) -> int:
        now_ns = time.monotonic_ns()
        self._joules += self._watts * (now_ns - self._since_ns) / 1e9
        self._since_ns = now_ns
        return now_ns
