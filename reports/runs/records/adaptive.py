"""What run.json keeps of a run whose results decide its number of blocks."""

from __future__ import annotations

from typing import Literal

from base.records import Record

Ending = Literal["reached", "failed", "max_blocks", "max_hours"]


class Adaptive(Record):
    """`protocol.until`, the configurations that need no more blocks, and how it ended."""

    until: str  # as the experiment file says it
    settled: dict[str, int] = {}  # label -> the number of blocks after which it was left out; never the baseline
    ended: Ending | None = None  # None: it did not come to that
