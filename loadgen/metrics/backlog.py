"""Whether the backlog of an open loop was stationary: a test for a trend in the number of requests in flight.

The stretch of time is cut into 16 parts, each with its mean number in flight. Where the server does not keep up, arrivals
less completions are a random walk with a drift: the steps from part to part scatter about the drift, and their scatter says
how far chance alone carries the walk. Where it keeps up, a step up is followed by a step down, so that the same scatter says
more than chance can do: the test is the stricter, however long the queue remembers. No throughput enters it, so neither the
edges of a window nor a long answer look like a server that is behind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from base.figures import percent
from base.records import Record
from loadgen.records.schema import RequestRecord
from loadgen.records.table import Records

PARTS = 16  # of the stretch; the three constants below follow from it
_STEPS = PARTS - 1
# Means of a random walk over adjoining parts: its steps have 2/3 of the variance of the walk over a part, and covariance 1/6.
_SCATTER = 2 / 3 * _STEPS - (
    1 - 1 / (3 * _STEPS)
)  # expected sum of squares of the steps about their mean, in that variance
_WALK = _STEPS - 1 / 3  # variance of the sum of the steps, in that variance
_T_95 = 1.776  # one-sided 95 % of Student's t at the 12.6 degrees of freedom that the correlated steps have
FEWEST = 20  # requests: fewer show nothing
NEVER_FILLED = "the first requests took longer than half of the load lasted"
RESOLVES = 0.1  # of the arrivals: a growth that could be larger unseen is not ruled out


class Backlog(Record):
    """How the number of requests in flight moved over a stretch of time. Levels are requests, slopes requests per second.

    The interval holds the slope with 90 %, so that a server that keeps up is called growing in at most 5 % of loads.
    """

    stationary: bool | None  # None: undecided, and `reason` says why
    reason: str | None = None
    arrivals: int  # requests scheduled in the stretch
    arrival_rate: float  # per second
    first_level: float | None = None  # mean number in flight in the first sixteenth, and in the last
    last_level: float | None = None
    slope: float | None = None
    slope_low: float | None = None
    slope_high: float | None = None

    @property
    def growing(self) -> bool:
        """Whether requests piled up, beyond chance: the server did not keep up."""
        return self.slope_low is not None and self.slope_low > 0


def backlog_trend(records: Sequence[RequestRecord], start_ns: int, end_ns: int) -> Backlog:
    """Test the requests in flight from `start_ns` to `end_ns` for a trend.

    Pass all records of the load, failed ones included, and a stretch in which requests were being sent: from when the line
    is filled to the last sending. A request is in flight from its scheduled time to its end, failed or not, or for
    ever if it has none. `stationary` is False if the interval of the slope excludes 0, up or down; True if it includes 0 and
    excludes any trend above a tenth of the arrivals; else None.
    """
    table = Records.of(records)
    known = (table.column("sent_ns") >= 0) | (table.column("end_ns") >= 0)
    arrived = np.sort(table.column("scheduled_ns")[known])
    seconds = (end_ns - start_ns) / 1e9
    arrivals = int(((arrived >= start_ns) & (arrived <= end_ns)).sum())
    rate = arrivals / seconds if seconds > 0 else 0.0
    if arrivals < FEWEST or seconds <= 0:
        few = f"{arrivals} requests arrived in the stretch that could be judged; it takes {FEWEST}"
        return Backlog(stationary=None, reason=few, arrivals=arrivals, arrival_rate=rate)
    edges = np.linspace(0, seconds, PARTS + 1)
    ended = np.sort(table.times("end_ns"))
    area = _area((arrived - start_ns) / 1e9, edges) - _area((ended - start_ns) / 1e9, edges)
    levels = np.diff(area) / np.diff(edges)
    change, half = _walk(levels)
    span = seconds * _STEPS / PARTS  # between the middles of the first and the last part
    low, high = (change - half) / span, (change + half) / span
    trend, resolved = low > 0 or high < 0, max(-low, high) <= RESOLVES * rate
    reason = None
    if not trend and not resolved:
        reason = f"a trend of up to {percent(max(-low, high) / rate)} of the arrivals could hide in the scatter of {arrivals} requests"
    return Backlog(
        stationary=False if trend else True if resolved else None,
        reason=reason,
        arrivals=arrivals,
        arrival_rate=rate,
        first_level=float(levels[0]),
        last_level=float(levels[-1]),
        slope=change / span,
        slope_low=low,
        slope_high=high,
    )


def sending_trend(records: Sequence[RequestRecord]) -> Backlog:
    """The trend of an open loop from when it was filled to the last sending.

    A server that took over half of the sending to fill may have been filling all the time, so no trend is judged.
    """
    table = Records.of(records)
    sent, filled = table.times("sent_ns"), filled_ns(table)
    first, last = int(sent.min(initial=2**62)), int(sent.max(initial=0))
    if filled is None or filled - first > (last - first) / 2:
        return Backlog(stationary=None, reason=NEVER_FILLED, arrivals=0, arrival_rate=0.0)
    return backlog_trend(table, filled, last)


def filled_ns(records: Sequence[RequestRecord]) -> int | None:
    """When the line is filled: the first sending and the 90th percentile of the first 20 requests' times to their ends.

    Of the first requests alone, since those behind them wait for what has piled up. None: too few of them ended.
    """
    table = Records.of(records)
    scheduled, ended = table.column("scheduled_ns"), table.column("end_ns")
    first = np.argsort(scheduled, kind="stable")[:FEWEST]
    took = np.sort((ended - scheduled)[first][ended[first] >= 0])
    place = math.ceil(0.9 * len(first)) - 1
    return int(scheduled[first[0]] + took[place]) if 0 <= place < len(took) else None


def _area(events: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The time integral, up to each edge, of how many of the sorted events have happened."""
    before = np.searchsorted(events, edges)
    sums = np.concatenate([[0.0], np.cumsum(events)])
    area: npt.NDArray[np.float64] = before * edges - sums[before]
    return area


def _walk(levels: npt.NDArray[np.float64]) -> tuple[float, float]:
    """(change from the first level to the last, half of its interval for a random walk with such steps).

    One request is added to that variance: the cuts through a regular pattern account for less.
    """
    steps = np.diff(levels)
    variance = float(((steps - steps.mean()) ** 2).sum()) / _SCATTER
    return float(steps.sum()), _T_95 * math.sqrt(variance * _WALK + 1)
