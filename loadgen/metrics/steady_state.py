"""What is metered beside the window: the load by ML.ENERGY's rule, and its warm-up.

ML.ENERGY's steady state of a closed loop with B requests in flight, N in all, begins when B have had a first token and ends when
N - B - 1 have ended: their batch is full in between. Where a server holds fewer in its batch than the loop keeps in flight, theirs
is that number. Source: ML.ENERGY Benchmark, `RequestTracker` (github.com/ml-energy/benchmark).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from energy.records import WindowEnergy
from loadgen.metrics.measuring.arrivals import tokens_between
from loadgen.records.schema import RequestRecord, SteadyState, WarmUp
from loadgen.records.table import Records
from loadgen.workloads.base import Workload

Over = Callable[[int, int], WindowEnergy]  # the joules between two moments, ns


def steady_state(workload: Workload, records: Sequence[RequestRecord], over: Over) -> SteadyState:
    """ML.ENERGY's steady state of the measured requests, with its joules, or the reason why there is none."""
    batch = workload.streams
    if batch is None:
        return SteadyState(reason="the load keeps no batch full: the rule is of a number of requests always in flight")
    table = Records.of(records)
    firsts, ends = np.sort(table.times("first_token_ns")), np.sort(table.times("end_ns"))
    last = len(ends) - batch - 1
    if len(firsts) < batch or last < 1 or ends[last - 1] <= firsts[batch - 1]:
        return SteadyState(batch=batch, reason=f"{len(ends)} requests are too few for {batch} in flight")
    start, end = int(firsts[batch - 1]), int(ends[last - 1])
    energy = over(start, end)
    return SteadyState(
        batch=batch,
        start_ns=start,
        end_ns=end,
        output_tokens=tokens_between(table.batches(), start, end),
        joules=energy.gross_joules,
        joules_uncertainty=energy.gross_joules_uncertainty,
        reason=energy.reason,
    )


def metered_warm_up(warmup: WarmUp, ended_ns: int, over: Over) -> WarmUp:
    """The warm-up with its joules, or the reason why it has none; of several processes over the longest."""
    lasted_ns = round(warmup.seconds * 1e9)
    if not warmup.requests or lasted_ns <= 0:
        return warmup.model_copy(update={"joules_reason": "nothing was sent to warm up"})
    energy = over(ended_ns - lasted_ns, ended_ns)
    found = {"joules": energy.gross_joules, "joules_uncertainty": energy.gross_joules_uncertainty}
    return warmup.model_copy(update=found | {"joules_reason": energy.reason})
