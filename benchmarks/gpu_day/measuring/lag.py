"""How long after a load begins or ends the power that a source shows passes the middle between idle and load."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from energy.records import MeterTrace

_WITHIN_S = 3.0  # later changes have another cause


def lag(
    trace: MeterTrace, edges: Sequence[tuple[int, bool]], idle_watts: float | None, load_watts: float | None
) -> dict[str, Any]:
    """Median and longest seconds from an edge to the reading that shows it, over the edges; `reason` where none is seen.

    edges: times in ns of the monotonic clock, and whether the load began there. The sampler's own interval is part of it.
    """
    if idle_watts is None or load_watts is None or not load_watts > 1.2 * idle_watts:
        return {"reason": f"the load is not seen: {idle_watts} W idle, {load_watts} W under load"}
    moments, watts = _power(trace)
    middle = (idle_watts + load_watts) / 2
    found = []
    for (edge, begins), following in itertools.zip_longest(edges, edges[1:]):
        end = min(edge + _WITHIN_S * 1e9, following[0] if following else np.inf)
        shown = (watts > middle) == begins
        passed = shown & (moments >= edge) & (moments < end)
        before = int(np.searchsorted(moments, edge)) - 1
        if passed.any() and before >= 0 and not shown[before]:
            found.append(float(moments[np.argmax(passed)] - edge) / 1e9)
    if not found:
        return {"reason": "no edge is seen", "edges": len(edges)}
    return {"median_s": statistics.median(found), "longest_s": max(found), "seen": len(found), "edges": len(edges)}


def _power(trace: MeterTrace) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times in ns, and watts then shown: a counter's between two of its changes, at the later one."""
    after = np.array(trace.after_ns, dtype=np.float64)
    if trace.info.kind == "power":
        read = [(at, one) for at, one in zip(after, trace.watts, strict=True) if one is not None]
        return np.array([at for at, _ in read]), np.array([one for _, one in read])
    joules = np.array(trace.joules)
    moved = np.concatenate(([0], np.flatnonzero(np.diff(joules) > 0) + 1))
    return after[moved[1:]], np.diff(joules[moved]) / np.diff(after[moved]) * 1e9
