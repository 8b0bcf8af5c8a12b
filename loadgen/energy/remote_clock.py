"""The offset of another machine's clock against ours, and its error."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_EVER_NS = 2**63
_ENOUGH_OF_ONE = 4  # round trips after which a clock that may be ours is ours


@dataclass(frozen=True)
class ClockOffset:
    """`offset_ns` is the other clock minus ours at `at_ns` of ours; the truth lies within `error_ns` of it, for certain."""

    at_ns: int
    offset_ns: int
    error_ns: int

    def between(self, later: ClockOffset, ns: int) -> tuple[int, int]:
        """Offset and error at a moment between two estimates, by a straight line: quartzes differ by up to 0.1 ms a second."""
        span = later.at_ns - self.at_ns
        share = min(1.0, max(0.0, (ns - self.at_ns) / span)) if span > 0 else 1.0
        offset = self.offset_ns + share * (later.offset_ns - self.offset_ns)
        return round(offset), max(self.error_ns, later.error_ns)


def estimate_offset(ask: Callable[[], int], round_trips: int) -> ClockOffset:
    """Ask the other machine for its monotonic time, many times, or a few if it turns out to be our own.

    It looked at its clock somewhere within each round trip, however unlike the ways there and back were: so each trip bounds
    the offset from both sides, and what all of them allow is mostly narrower than the quickest alone. If that includes 0 the
    clocks are one: two machines that started within a round trip of each other are not to be met. (The address does not
    decide: 127.0.0.1 may be one end of a tunnel.)
    """
    bounds: list[tuple[int, int]] = []
    began = time.monotonic_ns()
    low, high = -_EVER_NS, _EVER_NS
    while len(bounds) < round_trips and not (len(bounds) >= _ENOUGH_OF_ONE and low <= 0 <= high):
        before = time.monotonic_ns()
        theirs = ask()
        bounds.append((theirs - time.monotonic_ns(), theirs - before))
        low, high = max(low, bounds[-1][0]), min(high, bounds[-1][1])
    at_ns = (began + time.monotonic_ns()) // 2
    if low > high:  # a clock was set meanwhile, or they drift: take the quickest round trip
        low, high = min(bounds, key=lambda bound: bound[1] - bound[0])
    if low <= 0 <= high:
        return ClockOffset(at_ns, 0, 0)
    return ClockOffset(at_ns, (low + high) // 2, (high - low + 1) // 2)
