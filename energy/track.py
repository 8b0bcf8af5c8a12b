"""The history of one meter: readings in, cumulative joules out, in bounded memory.

Separate from the thread that fills it, so that resets, freezes and gaps are tested without waiting for them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

import numpy as np

from energy.meters.base import Reading
from energy.records import Counter, FailedRead, MeterInfo, MeterTrace

FROZEN_S = (
    5.0  # a counter that is constant for longer while power is reported is broken; working ones move within 0.5 s
)
FROZEN_JOULES = 5.0  # minimum integral of the reported power over that time
LEAD_IN_NS = (
    2_000_000_000  # a trace begins this long before the given moment, so that the edge lies between two changes
)
CHANGES_SEEN = 5  # that many changes before a refresh interval is stated
FAILURES_KEPT = 1000
_COLUMNS = np.dtype([("before", "i8"), ("after", "i8"), ("joules", "f8"), ("watts", "f8")])


class Track:
    """Samples of one meter, the oldest overwritten once `capacity` is reached (32 bytes each)."""

    def __init__(self, info: MeterInfo, capacity: int) -> None:
        self._info = info
        self._ring = np.empty(capacity, _COLUMNS)
        self._first = 0  # samples ever taken are numbered; number i lies at i % capacity
        self._end = 0
        self._origin: float | None = None  # the counter's first value
        self._changed_at = 0  # number of the sample at which joules last changed
        self._unchanged_joules = 0.0  # reported power, integrated since then
        self._intervals: list[float] = []  # seconds between changes, most recent last
        self._failed: deque[FailedRead] = deque(maxlen=FAILURES_KEPT)
        self.reason: str | None = None

    def append(self, reading: Reading) -> None:
        """Add one reading. A gap adds nothing; an impossible counter ends the track with a reason."""
        if self.reason is not None:
            return
        if reading.error is not None:
            self._failed.append(FailedRead(at_ns=reading.before_ns, reason=reading.error))
        joules = self._integrated(reading) if self._info.kind == "power" else self._counted(reading)
        if joules is None:
            return
        if self._end > self._first and joules < self._last("joules"):
            self.fail(
                f"the counter went backwards by {self._last('joules') - joules:.6g} J: the driver or device was reset"
            )
            return
        self._store(reading, joules)
        self._watch_for_freeze()

    def fail(self, reason: str) -> None:
        """End the track. Earlier samples stay readable: a window that ends before the failure is still good."""
        if self.reason is None:
            self.reason = reason

    @property
    def info(self) -> MeterInfo:
        """The meter's, with the refresh interval as observed where the meter does not state one.

        If a counter changes at every read, the observed interval is an upper bound.
        """
        if self._info.refresh_s is not None or len(self._intervals) < CHANGES_SEEN:
            return self._info
        return self._info.model_copy(update={"refresh_s": float(np.median(self._intervals))})

    def counter(self) -> Counter:
        """The latest sample, as a row of `GET /energy`."""
        if self._end == self._first:
            reason = self.reason or "the meter has not answered yet"
            return Counter(info=self.info, joules=None, sampled_ns=None, reason=reason)
        failed = self.reason is not None
        return Counter(
            info=self.info,
            joules=None if failed else self._last("joules"),
            sampled_ns=int(self._last("after")),
            watts=None if failed else _optional(self._last("watts")),
            reason=self.reason,
        )

    def since(self, since_ns: int) -> MeterTrace:
        """Samples from the last one before `since_ns` - 2 s, or from the oldest in memory."""
        numbers = range(self._first, self._end)
        at = bisect_left(numbers, since_ns - LEAD_IN_NS, key=lambda i: int(self._ring["after"][i % len(self._ring)]))
        wanted = np.arange(max(self._first, self._first + at - 1), self._end) % len(self._ring)
        rows = self._ring[wanted]
        return MeterTrace(
            info=self.info,
            before_ns=rows["before"].tolist(),
            after_ns=rows["after"].tolist(),
            joules=rows["joules"].tolist(),
            watts=[_optional(w) for w in rows["watts"].tolist()],
            failed_reads=[failed for failed in self._failed if failed.at_ns >= since_ns - LEAD_IN_NS],
            reason=self.reason,
        )

    def _counted(self, reading: Reading) -> float | None:
        if reading.joules is None:
            return None
        if self._origin is None:
            self._origin = reading.joules
        return reading.joules - self._origin

    def _integrated(self, reading: Reading) -> float | None:
        if reading.watts is None:
            return None
        if self._end == self._first:
            return 0.0
        seconds = (reading.before_ns + reading.after_ns - self._last("before") - self._last("after")) / 2e9
        return float(self._last("joules") + seconds * (reading.watts + self._last("watts")) / 2)

    def _store(self, reading: Reading, joules: float) -> None:
        number = self._end
        previous = self._last("joules") if number > self._first else None
        watts = np.nan if reading.watts is None else reading.watts
        self._ring[number % len(self._ring)] = (reading.before_ns, reading.after_ns, joules, watts)
        self._end = number + 1
        self._first = max(self._first, self._end - len(self._ring))
        if previous is None:
            self._changed_at = number
            return
        if joules == previous:
            before = self._ring[(number - 1) % len(self._ring)]
            if reading.watts is not None:
                self._unchanged_joules += reading.watts * (reading.after_ns - int(before["after"])) / 1e9
            return
        # Sample 0 is no change: the counter may have had that value for a while.
        if self._changed_at > 0 and self._changed_at >= self._first and self._info.kind == "counter":
            changed_ns = int(self._ring["after"][self._changed_at % len(self._ring)])
            self._intervals = [*self._intervals[-50:], (reading.after_ns - changed_ns) / 1e9]
        self._changed_at = number
        self._unchanged_joules = 0.0

    def _watch_for_freeze(self) -> None:
        if self._unchanged_joules < FROZEN_JOULES or self._changed_at < self._first:
            return
        stood_s = (self._last("after") - float(self._ring["after"][self._changed_at % len(self._ring)])) / 1e9
        if stood_s >= FROZEN_S:
            self.fail(
                f"the counter stood still for {stood_s:.1f} s while the device reported {self._unchanged_joules:.3g} J"
            )
            self._end = self._changed_at + 1  # samples after the last change are worthless

    def _last(self, column: str) -> float:
        value: float = self._ring[column][(self._end - 1) % len(self._ring)].item()
        return value


def _optional(value: float) -> float | None:
    return None if np.isnan(value) else value
