"""The wall clock, and its offset from the monotonic clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

_READINGS = 3


def utc_now() -> str:
    """The time of day, for people: ISO 8601, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def wall_clock_offset(wall_ns: Callable[[], int], monotonic_ns: Callable[[], int]) -> tuple[int, int]:
    """(wall - monotonic, how far that may be off), ns: the tightest of a few readings, since any may be interrupted."""
    found = []
    for _ in range(_READINGS):
        before = monotonic_ns()
        wall = wall_ns()
        after = monotonic_ns()
        found.append((after - before, wall - (before + after) // 2))
    error, offset = min(found)
    return offset, error
