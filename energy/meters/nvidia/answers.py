"""NVML's answers where some boards and drivers have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pynvml


def first_answer(*calls: Callable[[], Any]) -> Any:
    """What the first call that works returns; None if none does."""
    for call in calls:
        try:
            return call()
        except pynvml.NVMLError:
            continue
    return None


def watts_of(milliwatts: int | None) -> float | None:
    """None stays None."""
    return None if milliwatts is None else milliwatts / 1e3
