"""A sweep's file, and the judgement of one rate. `loadgen.sweeps.rate_search` picks the rates."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from base.figures import percent
from base.records import Record
from loadgen.metrics.backlog import NEVER_FILLED, Backlog
from loadgen.metrics.latencies import percentiles
from loadgen.metrics.metrics import TrialMetrics
from loadgen.metrics.summary import per
from loadgen.records.schema import Trial
from loadgen.workloads.sweep import SweepLoad

FAILS = 0.05  # of the requests: a server that turns away more does not keep up


class SweepPoint(Record):
    """The figures of one rate. Rates are requests per second of the window, latencies milliseconds."""

    rate: float  # offered
    folder: str
    offered_rate: float  # as it came out by chance, in the window
    achieved_rate: float  # completed in the window
    output_tokens_per_s: float
    # Percentiles are of all requests, a failed one slower than any; the mean is of completed ones.
    median_ttft_ms: float | None
    p99_ttft_ms: float | None
    median_tpot_ms: float | None
    p99_tpot_ms: float | None
    mean_e2e_ms: float | None
    joules_per_output_token: float | None
    failed: int
    latency_requests: int | None = None  # whose latencies count; None in files of earlier versions
    p99_reason: str | None = None  # why p99s are None
    slo_share: (
        float | None
    )  # of the requests that ended in the window, those that met every objective; None: none stated
    saturated: str | None  # why, or None
    good: bool  # not saturated, and enough requests met the objectives
    backlog: Backlog | None = None  # its trend from when the line was filled to the last sending; None in earlier files
    unclear: str | None = None  # why the load was too short to judge the backlog

    @property
    def verdict(self) -> str:
        """In words, the kind before a colon."""
        if self.saturated:
            return f"saturated: {self.saturated}"
        if self.unclear:
            return f"too short: {self.unclear}"
        return "good" if self.good else "objectives not met"


class Bracket(Record):
    """Between which rates the saturation rate lies, requests per second: the capacity beyond which requests pile up."""

    low: float  # the server completes this: the highest rate kept up with, less the growth that chance could hide
    high: float  # the lowest at which requests piled up beyond chance
    repeated: bool  # both edges were measured twice
    words: str  # how sure this is


class Sweep(Record):
    """`sweep.json`. A rate that was not found is None with the reason."""

    schema_version: Literal[1] = 1
    workload: SweepLoad
    points: list[SweepPoint]  # in the order tried
    knee_rate: float | None  # where throughput over latency is highest (Kleinrock's power)
    saturation_rate: float | None  # the lowest tried at which the server did not keep up
    bracket: Bracket | None = (
        None  # of the saturation rate; None: an edge was not found, or a file of an earlier version
    )
    goodput_rate: float | None  # the highest that kept up and met the objectives
    goodput_below: float | None  # the lowest tried above it that did not
    reason: str | None = None  # why goodput_rate or bracket is None, or the bracket is wide
    complete: bool = False


def judge(
    sweep: SweepLoad,
    folder: str,
    trial: Trial,
    metrics: TrialMetrics,
    *,
    p99_takes: int,
) -> SweepPoint:
    """Judge one trial of a sweep; a p99 of fewer than `p99_takes` requests is withheld."""
    backlog, unclear = metrics.trend, None
    if backlog is None or backlog.reason == NEVER_FILLED:
        backlog, unclear = None, NEVER_FILLED
    saturated = _saturated(metrics, backlog)
    counted = int((~np.isnan(metrics.e2e_ms)).sum())  # failed ones too
    share = metrics.good_share()
    ttft, tpot = (_measured(percentiles(values, (50, 99))) for values in (metrics.ttft_ms, metrics.tpot_ms))
    e2e = metrics.e2e_ms[np.isfinite(metrics.e2e_ms)]
    few = counted < p99_takes
    return SweepPoint(
        rate=trial.workload.level,
        folder=folder,
        # A whole window has the last answers, when nothing was sent any more.
        offered_rate=metrics.sending_rate if trial.window_rule == "whole" else metrics.offered_rate,
        achieved_rate=metrics.completed_per_s,
        output_tokens_per_s=metrics.output_tokens_per_s,
        median_ttft_ms=ttft.get(50),
        p99_ttft_ms=None if few else ttft.get(99),
        median_tpot_ms=tpot.get(50),
        p99_tpot_ms=None if few else tpot.get(99),
        mean_e2e_ms=float(e2e.mean()) if e2e.size else None,
        joules_per_output_token=per(trial.energy.gross_joules, metrics.window_output_tokens),
        failed=metrics.failed,
        latency_requests=counted,
        p99_reason=f"p99 takes {p99_takes} requests; {counted} count" if few else _why_no_p99(ttft),
        slo_share=share,
        saturated=saturated,
        good=saturated is None
        and unclear is None
        and (not trial.workload.objectives or (share or 0.0) >= sweep.slo_share),
        backlog=backlog,
        unclear=None if saturated else unclear,
    )


def _measured(found: dict[float, float]) -> dict[float, float]:
    """Without percentiles that land among failed requests."""
    return {wanted: value for wanted, value in found.items() if math.isfinite(value)}


def _why_no_p99(ttft: dict[float, float]) -> str | None:
    return None if 99 in ttft else "p99 lands among the failed requests"


def _saturated(metrics: TrialMetrics, backlog: Backlog | None) -> str | None:
    """Why the server did not keep up, or None."""
    if metrics.failed > FAILS * metrics.requests:
        return f"{metrics.failed:,} of {metrics.requests:,} requests failed"
    if backlog is None or not backlog.growing:
        return None
    share = (backlog.slope or 0.0) / backlog.arrival_rate
    return f"the requests in flight grew from {backlog.first_level:.0f} to {backlog.last_level:.0f}, by {percent(share)} of those sent"
