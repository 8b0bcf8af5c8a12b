"""From which moment to which a trial counts. The start is excluded and the end included (`loadgen.metrics.metrics`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from loadgen.records.schema import RequestRecord, WindowRule, WindowRules
from loadgen.records.table import Records
from loadgen.workloads.base import Workload

Times = npt.NDArray[np.int64]
_SLOWEST = 99  # percentile of E2E after which an open loop counts as filled


class Window(NamedTuple):
    """The window's edges, the rule that cut it, and how many generations of a closed loop it holds (None elsewhere)."""

    start_ns: int
    end_ns: int
    rule: WindowRule
    generations: int | None = None


def cut_window(
    workload: Workload, records: Sequence[RequestRecord], lanes: int = 1, *, rules: WindowRules = 2
) -> Window:
    """The window of the measured requests, which `lanes` client processes sent.

    The workload names the rule. whole: from the first sending to the last end; the pauses between are part of such a load,
    and no part of a ramp is steady. generations: see `_generations`. steady: see `_filled`.
    `rules` 1 cuts as runs did that were recorded before generations were counted.
    """
    table = Records.of(records)
    if workload.window_cut == "whole":
        return _whole(table)
    if rules == 1:
        return _before_generations(workload, table, lanes)
    if workload.window_cut == "steady":
        return _filled(table, *(_sessions(table) if workload.holds_sessions else _requests(table)))
    return _generations(workload.in_flight or 1, table, lanes)


def _whole(table: Records) -> Window:
    return Window(int(table.times("sent_ns").min()), int(table.times("end_ns").max()), "whole")


def _generations(streams: int, table: Records, lanes: int) -> Window:
    """The window (B-th end, (1 + m)·B-th end] of a loop of B streams, with the largest m for which the loop is full.

    Ends are those of all lanes, failed requests' too: each makes room for another. A loop in lockstep repeats itself every B
    ends, so that such a window begins and ends at the same phase. Full: no lane has run out of requests to send. With m < 1
    the load is taken whole.
    """
    sent = table.column("sent_ns") >= 0
    ends = np.sort(table.column("end_ns")[sent & (table.column("end_ns") >= 0)])
    full_until = min(_no_longer_full(table, lane, lanes) for lane in range(lanes))
    generations = int(np.searchsorted(ends, full_until, side="right")) // streams - 1
    if generations < 1:
        return _whole(table)._replace(generations=0)
    start, end = int(ends[streams - 1]), int(ends[(1 + generations) * streams - 1])
    return Window(start, end, "generations", generations)


def _no_longer_full(table: Records, lane: int, lanes: int) -> int:
    """The first end after the last sending of one process."""
    mine = table.column("index") % lanes == lane
    sent, ends = table.column("sent_ns")[mine], table.column("end_ns")[mine]
    after = ends[ends > sent.max(initial=-1)]
    return int(after.min()) if after.size else int(table.times("end_ns").max())


def _filled(table: Records, begun: Times, lengths: Times) -> Window:
    """From the first of `begun` + p99 of `lengths`, when the server has filled, to the last of `begun`; of requests, or of sessions.

    "half", where that leaves less than half of the span of sending: the last half of it, which leaves out the time in which
    the server fills fastest. "whole", where p99 is longer than that span, or nothing ended in the window. Both are flagged. In
    the simulation (no limit, 8 to 800 tokens) the half is at most 8 % low in J/request and tokens/s and 20 % in E2E as long as the
    sending lasts longer than p99; beyond that it gets to 40 to 60 %, while the whole load has E2E and joules right to some
    percent, and half the throughput. A saturated server works at its limit in either.
    """
    ends, first, last = table.column("end_ns"), int(begun.min()), int(begun.max())
    if not lengths.size or (filling := int(np.percentile(lengths, _SLOWEST))) > last - first:
        return _whole(table)
    half = (last - first) // 2
    start = first + min(filling, half)
    if not ((ends > start) & (ends <= last)).any():
        return _whole(table)
    return Window(start, last, "steady" if filling <= half else "half")


def _requests(table: Records) -> tuple[Times, Times]:
    """When requests were sent, and E2E of the completed ones."""
    completed = ~table.valid("error") & (table.column("last_token_ns") >= 0)
    return table.times("sent_ns"), (table.column("last_token_ns") - table.column("sent_ns"))[completed]


def _sessions(table: Records) -> tuple[Times, Times]:
    """When sessions sent their first turn, and from there to their last end: a server has filled when all ages are there."""
    sent = table.column("sent_ns") >= 0
    _, places = np.unique(table.column("group")[sent], return_inverse=True)
    begun = np.full(places.max(initial=-1) + 1, np.iinfo(np.int64).max)
    ended = np.zeros_like(begun)
    np.minimum.at(begun, places, table.column("sent_ns")[sent])
    np.maximum.at(ended, places, table.column("end_ns")[sent])
    return begun, ended - begun


def _before_generations(workload: Workload, table: Records, lanes: int) -> Window:
    """Rules 1. A closed loop: from when B requests had a first token to the first end after the last sending; an open loop:
    from the first end to the last sending.
    """
    sent, ends = table.times("sent_ns"), table.times("end_ns")
    whole = _whole(table)
    if workload.window_cut == "generations":
        firsts = np.sort(table.times("first_token_ns"))
        full = (workload.in_flight or 1) - 1
        start = int(firsts[full]) if full < len(firsts) else whole.end_ns
        end = min(_no_longer_full(table, lane, lanes) for lane in range(lanes))
    else:
        start, end = int(ends.min()), int(sent.max())
    return Window(start, end, "steady") if start < end else whole
