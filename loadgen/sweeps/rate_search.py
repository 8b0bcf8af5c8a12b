"""The search of a sweep, and its conclusions: the bracket of the saturation rate, the knee, the highest good rate."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from base.figures import percent
from loadgen.sweeps.points import Bracket, Sweep, SweepPoint
from loadgen.workloads.sweep import SweepLoad

_FACTOR = 2.0  # from one rate to the next, until the server is saturated
_BISECTS = 0.05  # the edges of the bracket are no further apart than this share, before their own uncertainty
WIDE = 0.15  # a bracket wider than this share is reported with what would narrow it
_RESOLUTION = 0.1  # the highest good rate is known to this share of it
_MOST_TRIALS = 32
_SURER = 1.22  # a rate tried again may be an edge: its trials together are judged at 97.5 % instead of 95 %, one-sided


@dataclass(frozen=True)
class _Tried:
    """One rate with all its trials, `points`, taken together."""

    rate: float
    points: list[SweepPoint]
    slo_share: float | None  # of requests that must meet the objectives; None: there are no objectives

    @property
    def unclear(self) -> bool:
        return all(p.unclear for p in self.points)

    @property
    def growth(self) -> tuple[float, float] | None:
        """(growth of the backlog as a share of the arrivals, half of its interval); None: too few requests to say."""
        trends = [p.backlog for p in self.points if p.backlog is not None and p.backlog.slope is not None]
        if not trends:
            return None
        shares = [(t.slope or 0.0) / t.arrival_rate for t in trends]
        halves = [((t.slope_high or 0.0) - (t.slope or 0.0)) / t.arrival_rate for t in trends]
        surer = _SURER if len(trends) > 1 else 1.0
        return math.fsum(shares) / len(trends), surer * math.hypot(*halves) / len(trends)

    @property
    def saturated(self) -> bool:
        """By what all trials show together; one that failed too many requests decides alone."""
        if any(p.saturated and not (p.backlog and p.backlog.growing) for p in self.points):
            return True
        return self.growth is not None and self.growth[0] > self.growth[1]

    @property
    def good(self) -> bool:
        shares = [p.slo_share for p in self.points if p.slo_share is not None]
        met = self.slo_share is None or (bool(shares) and math.fsum(shares) / len(shares) >= self.slo_share)
        return met and not self.saturated and not self.unclear


def _by_rate(workload: SweepLoad, points: Sequence[SweepPoint]) -> list[_Tried]:
    """Lowest first."""
    found: dict[float, list[SweepPoint]] = {}
    for point in points:
        found.setdefault(point.rate, []).append(point)
    share = workload.slo_share if workload.has_objectives else None
    return [_Tried(rate, found[rate], share) for rate in sorted(found)]


def _edges(rates: Sequence[_Tried]) -> tuple[_Tried | None, _Tried | None]:
    """(the highest rate kept up with below the lowest that saturates the server, that one)."""
    high = next((each for each in rates if each.saturated), None)
    kept_up = [each for each in rates if not each.saturated and not each.unclear]
    return next((each for each in reversed(kept_up) if high is None or each.rate < high.rate), None), high


def rates_to_try(workload: SweepLoad) -> Generator[float, SweepPoint, None]:
    """Yield a rate and receive its point; end when the search is done.

    Stated rates in order. Else doubling from the lowest until the server is saturated, halving first where even the lowest
    saturates the server; then halving the stretch between the highest rate kept up with and the lowest that saturates, on a
    logarithmic scale, to a twentieth, and both once more: if an edge does not hold, the search resumes from there. With objectives
    the stretch between good and bad is halved too, to a tenth.
    """
    tried: list[SweepPoint] = []
    while (following := _next(workload, tried)) is not None:
        tried.append((yield following))


def _next(workload: SweepLoad, tried: Sequence[SweepPoint]) -> float | None:
    if workload.rates is not None:
        return workload.rates[len(tried)] if len(tried) < len(workload.rates) else None
    if not tried:
        return workload.rate
    rates = _by_rate(workload, tried)
    found = _higher(workload, rates) or _nearer(workload, rates) or _nearer_to_good(workload, rates)
    return found if len(tried) < _MOST_TRIALS else None


def _higher(workload: SweepLoad, rates: Sequence[_Tried]) -> float | None:
    """While the highest rate tried is kept up with, the next."""
    top, highest = rates[-1], workload.end_rate or math.inf
    if top.saturated or top.unclear or top.rate >= highest:
        return None
    return min(top.rate * _FACTOR, highest)


def _nearer(workload: SweepLoad, rates: Sequence[_Tried]) -> float | None:
    """A rate that narrows the bracket, or one of its edges a second time."""
    low, high = _edges(rates)
    if low is None:
        return _lower(workload, rates)
    if high is None:
        return None
    if high.rate / low.rate > 1 + _BISECTS:
        return _untried(math.sqrt(low.rate * high.rate), rates)
    return next((edge.rate for edge in (high, low) if len(edge.points) < 2), None)


def _nearer_to_good(workload: SweepLoad, rates: Sequence[_Tried]) -> float | None:
    """A rate between the highest good one and the lowest above it that is not, where objectives are stricter than saturation."""
    if not workload.has_objectives:
        return None
    bad = min((each.rate for each in rates if not each.good), default=None)
    if bad is None:
        return None
    good = max((each.rate for each in rates if each.good and each.rate < bad), default=None)
    if good is None:
        return _lower(workload, rates)
    return _untried(math.sqrt(good * bad), rates) if bad / good > 1 + _RESOLUTION else None


def _lower(workload: SweepLoad, rates: Sequence[_Tried]) -> float | None:
    """Half of the lowest rate tried, down to a tenth of the first."""
    lowest = rates[0].rate
    return lowest / _FACTOR if lowest > (workload.rate or math.nan) / 10 else None


def _untried(rate: float, rates: Sequence[_Tried]) -> float | None:
    """The rate, unless it has been tried: a load too short to judge is as short the second time."""
    return None if any(each.rate == rate for each in rates) else rate


def _bracket(rates: Sequence[_Tried]) -> tuple[Bracket | None, str | None]:
    """(the bracket of the saturation rate, why there is none or why it is wide)."""
    low, high = _edges(rates)
    if high is None:
        unclear = any(each.unclear for each in rates)
        return (
            None,
            f"the server kept up with every rate{' that could be judged: the load was too short' if unclear else ''}",
        )
    if low is None:
        return None, "the server kept up with no rate"
    if low.growth is None:
        return None, f"too few requests at {low.rate:.4g} requests/s to say that the server kept up"
    surely = low.rate * max(0.0, 1 - low.growth[0] - low.growth[1])
    if not surely:
        return None, f"too few requests at {low.rate:.4g} requests/s to say how much the server completes"
    repeated = min(len(low.points), len(high.points)) > 1
    words = (
        f"the server completes {surely:.4g} requests/s and not {high.rate:.4g}, each "
        f"{'measured twice and known with 97.5 %' if repeated else 'measured once and known with 95 %'}"
    )
    bracket = Bracket(low=surely, high=high.rate, repeated=repeated, words=words)
    width = high.rate / surely - 1
    if width <= WIDE:
        return bracket, None
    return bracket, f"the bracket is {percent(width)} wide: more rates, or more requests at each, would narrow it"


def conclude(workload: SweepLoad, tried: Sequence[SweepPoint], *, complete: bool) -> Sweep:
    """Conclude from all points; trials of one rate count together."""
    rates = _by_rate(workload, tried)
    bad = [each.rate for each in rates if not each.good]
    good = [each.rate for each in rates if each.good and each.rate < min(bad, default=math.inf)]
    powers = {p.rate: p.achieved_rate / p.mean_e2e_ms for p in tried if p.mean_e2e_ms}
    bracket, why = _bracket(rates)
    reasons = [] if good else ["no rate that was tried is good"]
    return Sweep(
        workload=workload,
        points=list(tried),
        knee_rate=max(powers, key=powers.__getitem__, default=None),
        saturation_rate=min((each.rate for each in rates if each.saturated), default=None),
        bracket=bracket,
        goodput_rate=max(good, default=None),
        goodput_below=min((rate for rate in bad if rate > max(good, default=0.0)), default=None),
        reason="; ".join([*reasons, *([why] if why else [])]) or None,
        complete=complete,
    )
