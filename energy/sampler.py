"""The thread that reads all meters, and its readings: counters for `GET /energy`, a trace for windows."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from energy.meters.base import EnergyError, Meter, Metered, MeterLost, Reading, ReportsConditions, Stops
from energy.meters.registry import find_meters
from energy.records import Conditions, EnergyCounters, EnergyTrace, MissingMeter
from energy.track import LEAD_IN_NS, Track

HISTORY_S = 4 * 3600  # how far back a trace reaches: 9 MiB a meter at 50 ms
MODELLED_INTERVAL_S = 0.2  # it reads /proc for every process, and CPU time moves in steps of 10 ms
CONDITIONS_INTERVAL_S = 1.0


def start_sampler(
    *,
    modelled_watts_per_core: float | None,
    process_ids: Callable[[], list[int]],
    extra_meters: Sequence[Meter] = (),
    interval_s: float = 0.05,
) -> Sampler:
    """Find this machine's meters, and read them every `interval_s` until stopped, the first time before this returns.

    process_ids: the processes whose work is metered, children included: their CPU time is modelled, and others on a GPU are
    noted. Called at each read of a model, and when processes on a GPU start or end.
    extra_meters: meters that cannot be found on the machine, such as the synthetic engine's.
    Raises EnergyError for settings that cannot work.
    """
    meters, missing = find_meters(Metered(process_ids, modelled_watts_per_core))
    return Sampler([*meters, *extra_meters], missing, interval_s)


class Sampler:
    """Reads every meter from a thread of its own, from construction to `stop`. All methods may be called from any thread."""

    def __init__(self, meters: Sequence[Meter], missing: Sequence[MissingMeter], interval_s: float) -> None:
        if not 0.001 <= interval_s <= 1:
            raise EnergyError(f"the sampling interval must lie between 0.001 and 1 s, not {interval_s:g}")
        self._interval_ns = round(interval_s * 1e9)
        capacity = round(HISTORY_S / interval_s)
        self._tracks = [(meter, Track(meter.info, capacity), meter.info.measured) for meter in meters]
        self._missing = list(missing)
        self._conditions: deque[Conditions] = deque(maxlen=round(HISTORY_S / CONDITIONS_INTERVAL_S))
        self._due_ns: dict[int, int] = {}  # next read, by position, of meters that are not read at every tick
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._tick(time.monotonic_ns())  # so that a new sampler has counters
        self._thread = threading.Thread(target=self._run, name="energy-sampler", daemon=True)
        self._thread.start()

    def counters(self) -> EnergyCounters:
        """Joules since the sampler started, one row a meter."""
        with self._lock:
            rows = [track.counter() for _, track, _ in self._tracks]
        return EnergyCounters(now_ns=time.monotonic_ns(), meters=rows, missing=self._missing)

    def trace(self, since_ns: int) -> EnergyTrace:
        """All samples since `since_ns`, and of the two seconds before it, for interpolation at the window's start."""
        with self._lock:
            meters = [track.since(since_ns) for _, track, _ in self._tracks]
            conditions = [c for c in self._conditions if c.at_ns >= since_ns - LEAD_IN_NS]
        return EnergyTrace(now_ns=time.monotonic_ns(), meters=meters, conditions=conditions, missing=self._missing)

    def stop(self) -> None:
        """End the thread; its samples stay readable. Safe to call twice."""
        self._stopped.set()
        self._thread.join()
        for meter, _, _ in self._tracks:
            if isinstance(meter, Stops):
                meter.stop()

    def _run(self) -> None:
        due = time.monotonic_ns()
        while True:
            # Absolute deadlines do not drift; missed ticks are skipped, not caught up in a burst.
            now = time.monotonic_ns()
            due += max(1, -((due - now) // self._interval_ns)) * self._interval_ns
            if self._stopped.wait(max(0.0, (due - now) / 1e9)):
                return
            self._tick(time.monotonic_ns())

    def _tick(self, now_ns: int) -> None:
        """Read what is due, then note all of it at once: the lock is taken once a tick."""
        taken: list[tuple[Track, Reading | str]] = []
        for position, (meter, track, measured) in enumerate(self._tracks):
            if track.reason is None and (measured or self._is_due(position, now_ns, MODELLED_INTERVAL_S)):
                try:
                    taken.append((track, meter.read()))
                except MeterLost as lost:
                    taken.append((track, str(lost)))
                except Exception as error:  # noqa: BLE001 - one broken meter must not silence the others
                    taken.append((track, f"reading it failed: {type(error).__name__}: {error}"))
        with self._lock:
            for track, reading in taken:
                if isinstance(reading, str):
                    track.fail(reading)
                else:
                    track.append(reading)
        if self._is_due(-1, now_ns, CONDITIONS_INTERVAL_S):
            found = [
                m.conditions() for m, t, _ in self._tracks if t.reason is None and isinstance(m, ReportsConditions)
            ]
            with self._lock:
                self._conditions.extend(found)

    def _is_due(self, position: int, now_ns: int, interval_s: float) -> bool:
        if now_ns < self._due_ns.get(position, 0):
            return False
        self._due_ns[position] = now_ns + round(interval_s * 1e9)
        return True
