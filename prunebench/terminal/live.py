"""The live view of a load: requests, tokens/s, latencies, watts, time left.

It runs in the process that reads the answers, not in the one that measures: a table on a terminal, a line every few seconds
elsewhere.
"""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import Self

import numpy as np
from rich.live import Live
from rich.table import Table

from loadgen.energy.source import EnergySource
from loadgen.metrics.latencies import record_tpot_ms, record_ttft_ms
from loadgen.records.schema import RequestRecord
from loadgen.trial import Watcher
from loadgen.workloads.base import Workload
from reports.document.console import Console

_LATEST = 2000  # the number of requests in the latencies shown
_RATE_NS = 3_000_000_000  # the window of tokens/s,
_SETTLED_NS = 1_000_000_000  # which ends this long ago: the last second may be incomplete
_SHOWN_EVERY_S, _LINE_EVERY_S, _WATTS_EVERY_S = 0.5, 5.0, 5.0


class LiveView(Watcher):
    """A context manager that watches one trial after another."""

    def __init__(self, console: Console, workload: Workload, energy: EnergySource) -> None:
        self._console, self._workload = console, workload
        self._watts_of = energy if energy.measures else None
        self._done = self._failed = 0
        self._tokens: deque[tuple[int, int]] = deque()
        self._ttft_ms: deque[float] = deque(maxlen=_LATEST)
        self._tpot_ms: deque[float] = deque(maxlen=_LATEST)
        self._watts = ""
        self._began: float | None = None
        self._shown = self._printed = self._metered = time.monotonic()
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.draws else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
            self._live.update(f"{self._workload.name}: warming up", refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        elif kind is None and self._began is not None:
            self._print()

    def started(self) -> None:
        """The measured load starts now."""
        self._began = self._metered = time.monotonic()

    def tokens(self, at_ns: int, count: int) -> None:
        """Count the output tokens received up to `at_ns`."""
        self._tokens.append((at_ns, count))

    def finished(self, record: RequestRecord) -> None:
        """Count a finished request."""
        self._done += 1
        self._failed += record.error is not None
        if (ttft_ms := record_ttft_ms(record)) is not None:
            self._ttft_ms.append(ttft_ms)
            if (tpot_ms := record_tpot_ms(record)) is not None:
                self._tpot_ms.append(tpot_ms)

    def tick(self) -> None:
        """Refresh the view when it is due."""
        now = time.monotonic()
        if self._live is not None and now - self._shown >= _SHOWN_EVERY_S:
            self._shown = now
            self._meter(now)
            self._live.update(self._table(), refresh=True)
        elif self._live is None and now - self._printed >= _LINE_EVERY_S:
            self._printed = now
            self._print()

    def figures(self) -> dict[str, str]:
        """The figures by their titles."""
        shown = {"requests": self._requests(), "output tokens/s": f"{self._tokens_per_s():,.0f}"}
        for title, values in (("TTFT, ms", self._ttft_ms), ("TPOT, ms", self._tpot_ms)):
            if values:
                p50, p99 = np.percentile(values, [50, 99])
                shown[title] = f"p50 {p50:.1f}, p99 {p99:.1f}"
        if self._watts:
            shown["power"] = self._watts
        if left := self._left():
            shown["time left"] = left
        return shown

    def _requests(self) -> str:
        wanted = f" of {self._workload.requests:,}" if self._workload.requests else ""
        return f"{self._done:,}{wanted}" + (f", {self._failed:,} failed" if self._failed else "")

    def _tokens_per_s(self) -> float:
        end = time.monotonic_ns() - _SETTLED_NS
        while self._tokens and self._tokens[0][0] < end - _RATE_NS:
            self._tokens.popleft()
        return sum(count for at_ns, count in self._tokens if at_ns <= end) / (_RATE_NS / 1e9)

    def _left(self) -> str | None:
        if self._began is None:
            return None
        passed = time.monotonic() - self._began
        if self._workload.duration_s is not None:
            seconds = self._workload.duration_s - passed
        elif self._workload.requests is not None and self._done:
            seconds = passed * (self._workload.requests / self._done - 1)
        else:
            return None
        return f"{max(0.0, seconds):.0f} s"

    def _meter(self, now: float) -> None:
        if self._watts_of is None or self._began is None or now - self._metered < _WATTS_EVERY_S:
            return
        self._metered = now
        end = time.monotonic_ns()
        meters = [m for m in self._watts_of.power(end - 2_000_000_000, end).meters if m.info.measured and m.watts]
        same = [m for m in meters if m.info.source == meters[0].info.source]
        self._watts = f"{sum(m.watts[-1] for m in same):,.0f} W ({same[0].info.source})" if same else ""

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_row(self._workload.name, "loading" if self._began is not None else "warming up")
        for title, value in self.figures().items():
            table.add_row(title, value)
        return table

    def _print(self) -> None:
        line = ", ".join(f"{title} {value}" for title, value in self.figures().items())
        self._console.print(f"loading {self._workload.name}: {line}", highlight=False, markup=False, soft_wrap=True)
