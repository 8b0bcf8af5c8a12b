"""The wall clock."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> str:
    """The time of day, for people: ISO 8601, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
