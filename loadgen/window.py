"""From which moment to which a trial counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from loadgen.records import RequestRecord, Workload

WindowRule = Literal["whole", "steady"]


def cut_window(workload: Workload, records: Sequence[RequestRecord]) -> tuple[int, int, WindowRule]:
    """(start_ns, end_ns, rule) of the measured requests.

    single, batch: whole, from the first sending to the last end; the pauses between are part of such a load.
    ramp: whole too, since no part of it is steady.
    concurrency: steady, from the moment when as many requests as the loop holds have each had a first token, to the first
    end after the last sending, from when on the loop is no longer full.
    constant, poisson, burst, trace: steady, from the first end (the line is filled) to the last sending.
    A load too short to be steady is taken whole, and says so by its rule.
    """
    sent = [r.sent_ns for r in records if r.sent_ns is not None]
    ends = [r.end_ns for r in records if r.end_ns is not None]
    whole = min(sent), max(ends)
    if workload.kind in {"single", "batch", "ramp"}:
        return *whole, "whole"
    if workload.kind == "concurrency":
        firsts = sorted(r.first_token_ns for r in records if r.first_token_ns is not None)
        full = (workload.concurrency or 1) - 1
        start = firsts[full] if full < len(firsts) else whole[1]
        end = min((e for e in ends if e > max(sent)), default=whole[1])
    else:
        start, end = min(ends), max(sent)
    return (start, end, "steady") if start < end else (*whole, "whole")
