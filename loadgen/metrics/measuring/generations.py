"""The generations of a closed loop's window: the time that each took, and the tokens that arrived in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadgen.metrics.latencies import FloatArray
from loadgen.metrics.measuring.arrivals import Arrivals
from loadgen.records.schema import Trial
from loadgen.records.table import Records

MOST = 100  # generations apart; of more, neighbours are taken together
TIMES = ["sent_ns", "end_ns"]  # the columns that say where they lie


@dataclass(frozen=True)
class Generations:
    """Milliseconds after the window's start: `edges`, one more than generations; `took_ms` is without pauses."""

    edges: FloatArray
    took_ms: FloatArray

    def tokens(self, arrivals: Arrivals) -> npt.NDArray[np.int64]:
        """How many tokens arrived in each generation, its first edge excluded and its last included."""
        slots = np.searchsorted(self.edges, arrivals.at_ms, side="left")  # 0: before the first edge
        counted = np.bincount(slots, weights=arrivals.tokens, minlength=len(self.edges) + 1)
        return counted[1 : len(self.edges)].astype(np.int64)

    def ms_per_token(self, tokens: npt.NDArray[np.int64]) -> FloatArray:
        """Of each generation, or of neighbours together where there are many; empty if some have no token."""
        several = max(1, math.ceil(len(tokens) / MOST))
        whole = len(tokens) // several * several
        took, came = (each[:whole].reshape(-1, several).sum(axis=1) for each in (self.took_ms, tokens))
        return took / came if came.all() else np.array([])


def find_generations(trial: Trial, records: Records) -> Generations:
    """As many ends as the load has requests in flight make a generation, from the end of the one before or its first sending.

    None for loads without: open loops, ramps, a closed loop whose window is not of whole generations.
    """
    together = trial.workload.in_flight
    sent, end = records.column("sent_ns"), records.column("end_ns")
    inside = np.flatnonzero((sent >= 0) & (end > trial.window_start_ns) & (end <= trial.window_end_ns))
    regular = trial.workload.sequential or trial.window_rule == "generations"
    number = 0 if together is None or not regular else len(inside) // together
    if together is None or not number:
        return Generations(np.array([]), np.array([]))
    inside = inside[np.argsort(end[inside], kind="stable")][: number * together].reshape(number, together)
    edges = np.concatenate([[trial.window_start_ns], end[inside[:, -1]]])
    begun = np.maximum(edges[:-1], sent[inside].min(axis=1))
    return Generations((edges - trial.window_start_ns) / 1e6, (edges[1:] - begun) / 1e6)
