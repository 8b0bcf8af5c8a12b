"""Warm-up until steady: groups of requests of the measured shapes, until the time per token no longer changes.

Caches, clocks, thread pools and compiled kernels settle within seconds, or minutes on a cold GPU; a fixed number of requests is
too few for one machine and too many for another. After every group a straight line is laid through the last half of the
groups, at least three. Where it rises or falls by no more than the tolerance from its first to its last group, the server is
steady. Noise makes that later, not never: the more groups, the flatter the line. A server that is not steady when the limit
is reached is measured all the same, and flagged.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import numpy as np

from loadgen.client.exchange import Exchange
from loadgen.endpoint import LoadError
from loadgen.link.messages import Steadiness
from loadgen.prompts.request_body import way_out
from loadgen.records.schema import WarmUp

FEWEST_GROUPS = 3  # groups: two always lie on a line


async def warm_up(
    send_group: Callable[[int], Awaitable[Sequence[Exchange]]],
    error_of: Callable[[Exchange], str | None],
    *,
    groups: int,
    until: Steadiness | None,
    where: str,
    body: Mapping[str, Any] | None = None,
) -> WarmUp:
    """Send group 0, 1, 2 …: `groups` of them, and with `until` as many more as it takes.

    Raises LoadError if a whole group failed: nothing would be warm after it, and a server that hangs is not waited for twice.
    """
    began, requests, times = time.monotonic(), 0, list[float]()
    steady = None
    while len(times) < groups or (until is not None and not steady):
        if until is not None and len(times) >= groups and time.monotonic() - began > until.limit_s:
            break
        exchanges = await send_group(len(times))
        errors = [error_of(exchange) for exchange in exchanges]
        if all(errors):
            first = f"every warm-up request failed, the first with: {errors[0]}{way_out(errors[0] or '', body)}"
            raise LoadError(f"{where}: {first}")
        requests += len(exchanges)
        times.append(_time_per_byte(exchanges))
        steady = until and is_steady(times, until.within)
    return WarmUp(
        groups=len(times),
        requests=requests,
        seconds=time.monotonic() - began,
        steady=None if until is None else bool(steady),
        change=change_over(times) if len(times) >= FEWEST_GROUPS else None,
    )


def is_steady(times: Sequence[float], within: float) -> bool:
    """Whether the last half of the groups, at least three, changes by no more than `within`."""
    return len(times) >= FEWEST_GROUPS and abs(change_over(times)) <= within


def change_over(times: Sequence[float]) -> float:
    """Relative change, first to last, of the least-squares line through the last half of `times`, at least three of them."""
    last = np.array(times[-max(FEWEST_GROUPS, len(times) // 2) :])
    slope = np.polynomial.polynomial.polyfit(np.arange(len(last)), last, 1)[1]
    return float(slope * (len(last) - 1) / last.mean()) if last.any() else 0.0


def _time_per_byte(exchanges: Sequence[Exchange]) -> float:
    """Seconds from the first sending to the last end, by what was streamed: tokens differ where models stop by themselves."""
    whole = [e for e in exchanges if e.sent_ns is not None and e.end_ns is not None and e.body]
    if not whole:
        return 0.0
    seconds = (max(e.end_ns or 0 for e in whole) - min(e.sent_ns or 0 for e in whole)) / 1e9
    return seconds / sum(len(e.body) for e in whole)
