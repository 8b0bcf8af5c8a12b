"""Each request's share of the window's joules. Shares and `unattributed_joules` add up to the gross joules of the window.

    joules          idle power, shared at each moment equally over the requests in flight, and the active joules
    active joules   gross joules less idle power, shared by what the tokens of each request cost where an energy model knows it
                    (`TrialMetrics.costs`), else by time in flight
    unattributed    idle power of the time with nothing in flight

A request that reaches beyond the window counts for its time and its tokens within. Nothing is clamped: where idle power was
measured too high, active joules are negative.

Without idle power the share of a request is a line between what it would be if all power were idle power, and if none were:
its middle is given, and the interval has both ends.

Half-widths are of 95 %. That of active joules has

    meter     the share of the half-width of net joules
    time      of shares by time: the server may have worked for a request from its headers to its last token only. The joules of
              the other seconds bound the error, and so do those that all requests together have of them, in proportion
    costs     of shares by tokens: the covariance of the energy model's coefficients, and as much scatter of requests around its
              line as trials have

but not that a second in flight may cost one request more than another, nor a token where the line does not say so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from energy.records import WindowEnergy
from loadgen.metrics.equal_shares import TokenCosts
from loadgen.metrics.latencies import BoolArray, FloatArray
from loadgen.metrics.metrics import TrialMetrics

SharedBy = Literal["tokens", "time in flight"]
NO_IDLE = "idle power is not known"


@dataclass(frozen=True)
class RequestJoules:
    """Arrays have one entry a request, NaN where there is no figure: it was not in flight in the window, or there is a reason."""

    joules: FloatArray
    joules_uncertainty: FloatArray
    active_joules: FloatArray
    active_joules_uncertainty: FloatArray
    whole: BoolArray  # in flight within the window alone: only their joules are those of a request
    unattributed_joules: float | None
    unattributed_joules_uncertainty: float | None
    shared_by: SharedBy | None
    reason: str | None  # why there are no joules
    active_reason: str | None  # why there are no active joules

    @property
    def columns(self) -> dict[str, FloatArray]:
        """Those of requests.parquet."""
        names = ("joules", "joules_uncertainty", "active_joules", "active_joules_uncertainty")
        return {name: getattr(self, name) for name in names}

    def of_requests(self, chosen: BoolArray) -> FloatArray:
        """Joules of those chosen that lie wholly in the window."""
        found: FloatArray = self.joules[chosen & self.whole & np.isfinite(self.joules)]
        return found

    def typical_uncertainty(self, chosen: BoolArray) -> float | None:
        """The median half-width of the same; None without any."""
        found = self.joules_uncertainty[chosen & self.whole & np.isfinite(self.joules)]
        return float(np.median(found)) if found.size else None


@dataclass(frozen=True)
class _Split:
    """How active joules are shared: [n] shares that sum to 1, and their half-widths."""

    shares: FloatArray
    uncertainty: FloatArray
    by: SharedBy


def share_joules(energy: WindowEnergy, metrics: TrialMetrics) -> RequestJoules:
    """Share the gross joules of a trial's window over its requests."""
    nothing = np.full(metrics.requests, np.nan)
    gross = energy.gross_joules
    if gross is None:
        return _without_shares(metrics, energy.reason or "energy was not measured")
    half = energy.gross_joules_uncertainty or 0.0
    idle_seconds, empty_s = metrics.idle_seconds
    whole = (metrics.sent_ms >= 0) & (metrics.end_ms <= metrics.window_s * 1e3)
    split = _by_tokens(metrics.costs, metrics) or _by_time(metrics)
    if split is None:
        return _without_shares(metrics, "no request was in flight in the window", gross, half)
    known = energy.net_joules is not None and energy.idle_watts is not None
    idle_watts = energy.idle_watts if known and energy.idle_watts is not None else gross / metrics.window_s / 2
    active = gross - idle_watts * metrics.window_s
    net_half = max(energy.net_joules_uncertainty or 0.0, half) if known else half
    # Of idle power over the whole window, joules.
    idle_half = math.sqrt(net_half**2 - half**2) if known else gross / 2
    there = metrics.in_flight_ms > 0
    more_idle = idle_seconds / metrics.window_s - split.shares  # joules of a request for one more of idle power
    own = split.shares * half
    joules = idle_watts * idle_seconds + active * split.shares
    uncertainty = np.hypot(np.hypot(own, more_idle * idle_half), active * split.uncertainty)
    active_uncertainty = np.hypot(split.shares * net_half, active * split.uncertainty)
    empty = empty_s / metrics.window_s
    return RequestJoules(
        joules=np.where(there, joules, np.nan),
        joules_uncertainty=np.where(there, uncertainty, np.nan),
        active_joules=np.where(there, active * split.shares, np.nan) if known else nothing,
        active_joules_uncertainty=np.where(there, active_uncertainty, np.nan) if known else nothing,
        whole=whole,
        unattributed_joules=idle_watts * empty_s,
        unattributed_joules_uncertainty=empty * idle_half,
        shared_by=split.by,
        reason=None,
        active_reason=None if known else f"{NO_IDLE}: {energy.net_reason or 'it was not measured'}",
    )


def _without_shares(
    metrics: TrialMetrics, reason: str, unattributed: float | None = None, uncertainty: float | None = None
) -> RequestJoules:
    nothing = np.full(metrics.requests, np.nan)
    return RequestJoules(
        nothing,
        nothing,
        nothing,
        nothing,
        np.zeros(len(nothing), bool),
        unattributed,
        uncertainty,
        None,
        reason,
        reason,
    )


def _by_time(metrics: TrialMetrics) -> _Split | None:
    """None if nothing was in flight."""
    times, total = metrics.in_flight_ms, float(metrics.in_flight_ms.sum())
    if total <= 0:
        return None
    other = np.maximum(times - metrics.answering_ms, 0.0)
    # Two errors of known sign: the difference of both is at most the larger.
    error = np.maximum(other, times * float(other.sum()) / total)
    return _Split(times / total, error / total, "time in flight")


def _by_tokens(costs: TokenCosts | None, metrics: TrialMetrics) -> _Split | None:
    """None without costs, or where they give some request nothing to share by."""
    if costs is None:
        return None
    prompts = np.nan_to_num(metrics.prompt_tokens) * metrics.prefill_share
    units = np.column_stack([prompts, metrics.arrived_tokens, metrics.prefill_share])
    weights = units @ np.array(costs.joules)
    total = float(weights.sum())
    if total <= 0 or (weights < 0).any():
        return None
    shares = weights / total
    slopes = (units - shares[:, None] * units.sum(axis=0)) / total  # of the shares in the coefficients
    variance = np.einsum("ni,ij,nj->n", slopes, costs.covariance, slopes)
    variance = np.maximum(variance, 0.0) + (costs.deviation * shares) ** 2
    return _Split(shares, costs.quantile * np.sqrt(variance), "tokens")
