"""The history of one meter: readings in, cumulative joules out, in bounded memory.

Separate from the thread that fills it, so that resets, freezes and gaps are tested without waiting for them.
"""

from __future__ import annotations

import math
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
INTERVALS_KEPT = 51
MOST_RECENT = 256
FAILURES_KEPT = 1000


class Track:
    """Samples of one meter, the oldest overwritten once `capacity` is reached (32 bytes each).

    `append` is called hundreds of times a second, each time after a pause with cold caches: a sample is a tuple in a list until
    there are some hundreds of them, or somebody reads.
    """

    def __init__(self, info: MeterInfo, capacity: int) -> None:
        self._info = info
        self._integrates, self._counts = info.kind == "power", info.kind == "counter"
        self._capacity = capacity
        self._before, self._after = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
        self._joules, self._watts = np.empty(capacity), np.empty(capacity)
        self._recent: list[tuple[int, int, float, float]] = []  # samples that are not in the columns yet
        self._most_recent = min(MOST_RECENT, capacity)
        self._last: tuple[int, int, float, float] | None = None
        self._first = 0  # samples ever taken are numbered; number i lies at i % capacity
        self._end = 0
        self._origin: float | None = None  # the counter's first value
        self._changed_at, self._changed_ns = 0, 0  # number and time of the sample at which joules last changed
        self._unchanged_joules = 0.0  # reported power, integrated since then
        self._intervals: deque[float] = deque(maxlen=INTERVALS_KEPT)  # seconds between changes, most recent last
        self._failed: deque[FailedRead] = deque(maxlen=FAILURES_KEPT)
        self.reason: str | None = None

    def append(self, reading: Reading) -> None:
        """Add one reading. A gap adds nothing; an impossible counter ends the track with a reason."""
        if self.reason is not None:
            return
        before_ns, after_ns, joules, watts, error = reading
        if error is not None:
            self._failed.append(FailedRead(at_ns=before_ns, reason=error))
        last = self._last
        if self._integrates:
            if watts is None:
                return
            joules = 0.0 if last is None else _integrated(last, before_ns + after_ns, watts)
        elif joules is None:
            return
        else:
            if self._origin is None:
                self._origin = joules
            joules -= self._origin
        if last is not None and joules < last[2]:
            self.fail(f"the counter went backwards by {last[2] - joules:.6g} J: the driver or device was reset")
            return
        self._last = row = (before_ns, after_ns, joules, math.nan if watts is None else watts)
        self._recent.append(row)
        number = self._end
        self._end = number + 1
        if len(self._recent) == self._most_recent:
            self._settle()
        if last is not None and joules == last[2]:
            if watts is not None:
                self._unchanged_joules += watts * (after_ns - last[1]) / 1e9
                self._watch_for_freeze(after_ns)
            return
        # Sample 0 is no change: the counter may have had that value for a while.
        if self._counts and self._changed_at and self._end - self._changed_at <= self._capacity:
            self._intervals.append((after_ns - self._changed_ns) / 1e9)
        self._changed_at, self._changed_ns = number, after_ns
        self._unchanged_joules = 0.0

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
        self._settle()
        if self._end == self._first:
            reason = self.reason or "the meter has not answered yet"
            return Counter(info=self.info, joules=None, sampled_ns=None, reason=reason)
        newest, failed = (self._end - 1) % self._capacity, self.reason is not None
        return Counter(
            info=self.info,
            joules=None if failed else float(self._joules[newest]),
            sampled_ns=int(self._after[newest]),
            watts=None if failed else _optional(float(self._watts[newest])),
            reason=self.reason,
        )

    def since(self, since_ns: int) -> MeterTrace:
        """Samples from the last one before `since_ns` - 2 s, or from the oldest in memory."""
        self._settle()
        numbers = range(self._first, self._end)
        at = bisect_left(numbers, since_ns - LEAD_IN_NS, key=lambda i: int(self._after[i % self._capacity]))
        wanted = np.arange(max(self._first, self._first + at - 1), self._end) % self._capacity
        return MeterTrace(
            info=self.info,
            before_ns=self._before[wanted].tolist(),
            after_ns=self._after[wanted].tolist(),
            joules=self._joules[wanted].tolist(),
            watts=[_optional(watts) for watts in self._watts[wanted].tolist()],
            failed_reads=[failed for failed in self._failed if failed.at_ns >= since_ns - LEAD_IN_NS],
            reason=self.reason,
        )

    def _settle(self) -> None:
        """Move the recent samples into the columns, over the oldest ones."""
        if not self._recent:
            return
        places = np.arange(self._end - len(self._recent), self._end) % self._capacity
        columns = (self._before, self._after, self._joules, self._watts)
        for column, values in zip(columns, zip(*self._recent, strict=True), strict=True):
            column[places] = values
        self._recent.clear()
        self._first = max(self._first, self._end - self._capacity)

    def _watch_for_freeze(self, after_ns: int) -> None:
        if self._unchanged_joules < FROZEN_JOULES or self._end - self._changed_at > self._capacity:
            return
        stood_s = (after_ns - self._changed_ns) / 1e9
        if stood_s >= FROZEN_S:
            self.fail(
                f"the counter stood still for {stood_s:.1f} s while the device reported {self._unchanged_joules:.3g} J"
            )
            self._settle()
            self._end = self._changed_at + 1  # samples after the last change are worthless


def _integrated(last: tuple[int, int, float, float], now_ns: int, watts: float) -> float:
    """Joules up to a reading, by the trapezoid from the last one; `now_ns` is the sum of its two times."""
    before_ns, after_ns, joules, last_watts = last
    return joules + (now_ns - before_ns - after_ns) / 2e9 * (watts + last_watts) / 2


def _optional(value: float) -> float | None:
    return None if math.isnan(value) else value
