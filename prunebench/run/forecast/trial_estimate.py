"""How long one trial takes, and what it leaves on disk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import mean

from loadgen.workloads.base import Workload
from prunebench.run.forecast.assumptions import Times

_BYTES_A_REQUEST, _BYTES_A_TOKEN = 150, 6  # of requests.parquet; timestamps of tokens hardly compress
_BYTES_A_TRIAL = 20_000


@dataclass(frozen=True)
class TrialEstimate:
    """A workload on a server whose requests take `times`."""

    workload: Workload
    times: Times

    @cached_property
    def _tokens(self) -> float:
        """Output tokens of a request, where they are drawn on average over the first of them."""
        return mean(self.workload.answer_length(0, index) for index in range(100))

    @property
    def _request_s(self) -> float:
        return self.times.of(self._tokens)

    @cached_property
    def load_s(self) -> float:
        """How long the load lasts."""
        workload = self.workload
        together = workload.in_flight
        if together is None:
            return max(workload.arrivals(0), default=0.0) + self._request_s
        if workload.duration_s is not None:
            return workload.duration_s + self._request_s
        return math.ceil((workload.requests or 0) / together) * self._request_s

    @property
    def window_s(self) -> float:
        """How much of the load becomes the window, by the rules of `loadgen.metrics.window`."""
        cut, load_s, request_s = self.workload.window_cut, self.load_s, self._request_s
        if cut == "generations":  # without the first, and without the one in which the last request leaves
            return max(load_s - 2 * request_s, request_s) if load_s >= 2 * request_s else load_s
        if cut == "steady":  # of the span of sending, without its first request or its first half
            return max(load_s - 2 * request_s, (load_s - request_s) / 2)
        return load_s

    def warmup_s(self, fewest: int) -> float:
        """Of at least `fewest` groups of requests."""
        groups = math.ceil(self.workload.warmup_requests / (self.workload.in_flight or 1))
        return max(groups, fewest) * self._request_s

    @property
    def disk_bytes(self) -> int:
        """Of the trial's folder."""
        workload = self.workload
        together = workload.in_flight
        if workload.requests is not None:
            requests = float(workload.requests)
        elif together is None:
            requests = sum(1.0 for _ in workload.arrivals(0))
        else:
            requests = together * (workload.duration_s or 0.0) / self._request_s
        return round(_BYTES_A_TRIAL + requests * (_BYTES_A_REQUEST + self._tokens * _BYTES_A_TOKEN))
