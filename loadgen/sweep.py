"""A sweep: which rates to try, what each of them shows, and where the knee and the highest good rate are."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Literal

import numpy as np

from energy.records import Record
from loadgen.latencies import percentiles
from loadgen.metrics import TrialMetrics
from loadgen.records import RequestRecord, Trial, Workload
from loadgen.summary import met_objectives

KEEPS_UP = 0.95  # of the offered rate, or the server is saturated
GROWS = 0.02  # so large a share of the requests that came is left over, and at least as many again as at first: saturated too
FEWEST = 20  # requests at any rate: fewer show nothing
_CHANCE = 3  # requests
_FACTOR = 2.0  # from one rate to the next, until the server is saturated
_RESOLUTION = 0.1  # the highest good rate is known to this share of it
_MOST_TRIALS = 32


class SweepPoint(Record):
    """What one rate showed. Rates are requests per second of the window, latencies milliseconds."""

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
    slo_share: float | None  # of the requests sent in the window, those that met every objective; None: none stated
    saturated: str | None  # why, or None
    good: bool  # not saturated, and enough requests met the objectives


class Sweep(Record):
    """`sweep.json`. A rate that was not found is None with the reason."""

    schema_version: Literal[1] = 1
    workload: Workload
    points: list[SweepPoint]  # in the order tried
    knee_rate: float | None  # where throughput over latency is highest (Kleinrock's power)
    saturation_rate: float | None  # the lowest at which the server did not keep up
    goodput_rate: float | None  # the highest that kept up and met the objectives
    goodput_below: float | None  # the lowest tried above it that did not
    reason: str | None = None  # why goodput_rate or saturation_rate is None
    complete: bool = False


def points(workload: Workload) -> list[Workload]:
    """A sweep over stated rates as the workloads it is made of; any other workload as it is.

    Raises ValueError for a sweep that looks for its rates: several configurations need the same ones.
    """
    if workload.kind != "sweep":
        return [workload]
    if workload.rates is None:
        raise ValueError("a sweep in an experiment needs `rates`, so that every configuration meets the same")
    return [at_rate(workload, rate) for rate in workload.rates]


def at_rate(workload: Workload, rate: float) -> Workload:
    """One point of a sweep: Poisson arrivals, or gamma ones where the sweep has a burstiness.

    A duration becomes the number of requests that the rate sends in it, at least `FEWEST`.
    """
    fields = workload.model_dump(exclude={"kind", "rates", "end_rate", "slo_share", "requests", "duration_s"})
    requests = workload.requests or max(FEWEST, round(rate * (workload.duration_s or 0)))
    kind = "poisson" if workload.burstiness is None else "burst"
    name = f"{workload.name}-{rate:.6g}rps"
    return Workload.model_validate(
        fields | {"name": name, "kind": kind, "rate": rate, "requests": requests, "sweep": workload.name}
    )


Finding = tuple[bool, bool]  # (good, saturated)


def rates_to_try(workload: Workload) -> Generator[float, Finding, None]:
    """Yields a rate and is sent what it showed; ends when there is nothing more to learn.

    Stated rates in order. Else doubling from the lowest until the server is saturated, halving first where even the lowest
    is not good, then halving the stretch between good and bad, on a logarithmic scale, to a tenth.
    """
    if workload.rates is not None:
        for rate in workload.rates:
            yield rate
        return
    lowest, highest = workload.rate or math.nan, workload.end_rate or math.inf
    good, bad = 0.0, math.inf  # the highest good one below the lowest bad one
    rate, rising = lowest, True
    for _ in range(_MOST_TRIALS):
        is_good, saturated = yield rate
        if not is_good:
            bad = min(bad, rate)
        elif rate < bad:
            good = max(good, rate)
        rising = rising and not saturated and rate < highest
        if rising:
            rate = min(rate * _FACTOR, highest)
        elif bad == math.inf or bad <= lowest / 10:
            return
        elif good == 0.0:
            rate = bad / _FACTOR
        elif bad / good <= 1 + _RESOLUTION:
            return
        else:
            rate = math.sqrt(good * bad)


def judge(
    sweep: Workload,
    folder: str,
    trial: Trial,
    metrics: TrialMetrics,
    records: Sequence[RequestRecord],
    *,
    p99_takes: int,
) -> SweepPoint:
    """What one trial of a sweep showed; a p99 of fewer than `p99_takes` requests is withheld."""
    saturated, offered, achieved = _keeping_up(trial, metrics, records)
    met = met_objectives(trial.workload, metrics)
    counted = int((~np.isnan(metrics.e2e_ms)).sum())  # failed ones too
    share = None if met is None or not counted else float(met.sum()) / counted
    joules, tokens = trial.energy.gross_joules, metrics.window_output_tokens
    tpot_ms = metrics.tpot_ms if metrics.tpot_reason is None else np.array([])
    ttft, tpot = (_measured(percentiles(values, (50, 99))) for values in (metrics.ttft_ms, tpot_ms))
    e2e = metrics.e2e_ms[np.isfinite(metrics.e2e_ms)]
    few = counted < p99_takes
    objectives = trial.workload.slo_ttft_ms is not None or trial.workload.slo_tpot_ms is not None
    return SweepPoint(
        rate=trial.workload.rate or math.nan,
        folder=folder,
        offered_rate=offered,
        achieved_rate=achieved,
        output_tokens_per_s=metrics.output_tokens_per_s,
        median_ttft_ms=ttft.get(50),
        p99_ttft_ms=None if few else ttft.get(99),
        median_tpot_ms=tpot.get(50),
        p99_tpot_ms=None if few else tpot.get(99),
        mean_e2e_ms=float(e2e.mean()) if e2e.size else None,
        joules_per_output_token=joules / tokens if joules is not None and tokens else None,
        failed=int((~metrics.completed).sum()),
        latency_requests=counted,
        p99_reason=f"p99 takes {p99_takes} requests; {counted} count" if few else _why_no_p99(ttft),
        slo_share=share,
        saturated=saturated,
        good=saturated is None and (not objectives or (share or 0.0) >= sweep.slo_share),
    )


def _measured(found: dict[float, float]) -> dict[float, float]:
    """Without percentiles that land among failed requests."""
    return {wanted: value for wanted, value in found.items() if math.isfinite(value)}


def _why_no_p99(ttft: dict[float, float]) -> str | None:
    return None if 99 in ttft else "p99 lands among the failed requests"


def _keeping_up(
    trial: Trial, metrics: TrialMetrics, records: Sequence[RequestRecord]
) -> tuple[str | None, float, float]:
    """(why the server is saturated or None, offered rate, achieved rate).

    What arrives in the window and is not completed in it piles up. A steady server's pile only wavers: where arrivals and
    departures are independent the number in flight is a Poisson one, so the difference of two readings has the variance of
    twice its mean, and twice that deviation and three requests are left to chance.
    """
    start, end = trial.window_start_ns, trial.window_end_ns
    seconds = (end - start) / 1e9
    if trial.window_rule == "whole":  # the first request ended after the last was sent
        spread_ns = max(r.scheduled_ns for r in records) - min(r.scheduled_ns for r in records)
        offered = max(len(records) - 1, 1) / max(spread_ns / 1e9, 1e-9)
        achieved = metrics.window_requests / seconds
        late = achieved < KEEPS_UP * offered
        return "requests took longer than the load lasted" if late else None, offered, achieved
    arrived = sum(start < r.scheduled_ns <= end for r in records)
    piled_up = arrived - metrics.window_requests
    spans = [(max(r.scheduled_ns, start), min(r.end_ns, end)) for r in records if r.end_ns is not None]
    in_flight = sum(max(0, done - sent) for sent, done in spans) / (end - start)
    at_first = sum(r.scheduled_ns <= start < (r.end_ns or start) for r in records)
    offered, achieved = arrived / seconds, metrics.window_requests / seconds
    if piled_up <= 2 * math.sqrt(2 * in_flight) + _CHANCE:
        return None, offered, achieved
    if achieved < KEEPS_UP * offered:
        return f"{achieved:.3g} of {offered:.3g} requests/s were completed", offered, achieved
    if piled_up > max(at_first, GROWS * arrived):
        return f"the requests in flight grew from {at_first} to {at_first + piled_up}", offered, achieved
    return None, offered, achieved


def conclude(workload: Workload, tried: Sequence[SweepPoint], *, complete: bool) -> Sweep:
    """What the points say together."""
    bad = [p.rate for p in tried if not p.good]
    good = [p.rate for p in tried if p.good and p.rate < min(bad, default=math.inf)]
    saturated = [p.rate for p in tried if p.saturated is not None]
    powers = {p.rate: p.achieved_rate / p.mean_e2e_ms for p in tried if p.mean_e2e_ms}
    reasons = [] if good else ["no rate that was tried is good"]
    reasons += [] if saturated else ["the server kept up with every rate"]
    return Sweep(
        workload=workload,
        points=list(tried),
        knee_rate=max(powers, key=powers.__getitem__, default=None),
        saturation_rate=min(saturated, default=None),
        goodput_rate=max(good, default=None),
        goodput_below=min((rate for rate in bad if rate > max(good, default=0.0)), default=None),
        reason="; ".join(reasons) or None,
        complete=complete,
    )
