"""From which moment to which a trial counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from loadgen.records import RequestRecord, Workload
from loadgen.table import Records

WindowRule = Literal["whole", "steady"]


def cut_window(workload: Workload, records: Sequence[RequestRecord], lanes: int = 1) -> tuple[int, int, WindowRule]:
    """(start_ns, end_ns, rule) of the measured requests.

    single, batch: whole, from the first sending to the last end; the pauses between are part of such a load.
    ramp: whole too, since no part of it is steady.
    concurrency: steady, from the moment when as many requests as the loop holds have each had a first token, to the first
    end after the last sending, from when on the loop is no longer full. Of several processes, each with its lane of the
    indices, the first that is no longer full decides.
    constant, poisson, burst, trace: steady, from the first end (the line is filled) to the last sending.
    A load too short to be steady is taken whole, and says so by its rule.
    """
    table = Records.of(records)
    sent, ends = table.times("sent_ns"), table.times("end_ns")
    whole = int(sent.min()), int(ends.max())
    if workload.kind in {"single", "batch", "ramp"}:
        return *whole, "whole"
    if workload.kind == "concurrency":
        firsts = np.sort(table.times("first_token_ns"))
        full = (workload.concurrency or 1) - 1
        start = int(firsts[full]) if full < len(firsts) else whole[1]
        end = min((_no_longer_full(table, lane, lanes) for lane in range(lanes)), default=whole[1])
    else:
        start, end = int(ends.min()), int(sent.max())
    return (start, end, "steady") if start < end else (*whole, "whole")


def _no_longer_full(table: Records, lane: int, lanes: int) -> int:
    """The first end after the last sending of one process."""
    mine = table.column("index") % lanes == lane
    sent, ends = table.column("sent_ns")[mine], table.column("end_ns")[mine]
    after = ends[ends > sent.max(initial=-1)]
    return int(after.min()) if after.size else int(table.times("end_ns").max())
