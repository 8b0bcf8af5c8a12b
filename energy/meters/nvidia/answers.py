"""NVML calls that some boards and drivers do not support."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pynvml


def first_answer(*calls: Callable[[], Any]) -> Any:
    """The result of the first call that succeeds; None if all fail."""
    for call in calls:
        try:
            return call()
        except pynvml.NVMLError:
            continue
    return None


def watts_of(milliwatts: int | None) -> float | None:
    """Milliwatts as watts; None stays None."""
    return None if milliwatts is None else milliwatts / 1e3
