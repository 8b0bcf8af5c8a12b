"""Joules and watts for `GET /metrics`, from the same meters as `GET /energy`. Modelled energy has names of its own.

Meters overlap: a board lies within the wall, and of two names for one counter one is a copy. What may be added is added here, by the
rule of every other headline (`energy.window`), so that nobody has to sum meters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from energy.meters.copies import find_copies
from energy.records import Counter, EnergyCounters, EnergyTrace
from energy.window import choose_headline

_LABELS = ("model_name", "source", "domain", "device")
_SEEN_NS = 10 * 10**9  # of readings, in which copies of a counter show
_Family = CounterMetricFamily | GaugeMetricFamily


class EnergyCollector(Collector):
    """Reads the sampler at each scrape. A meter that has failed has no sample, rather than a 0, and nor has a sum without it."""

    def __init__(
        self, model_name: str, counters: Callable[[], EnergyCounters], trace: Callable[[int], EnergyTrace]
    ) -> None:
        self._model_name = model_name
        self._counters = counters
        self._trace = trace

    def describe(self) -> Iterable[_Family]:
        """Nothing: registering must not read the meters."""
        return []

    def collect(self) -> Iterable[_Family]:
        """Joules since the server started, and the newest watts; first of the headline, then of each meter."""
        counters = self._counters()
        yield from self._headline(counters)
        for measured, prefix, kind in ((True, "", "Measured"), (False, "modelled_", "Modelled, not measured:")):
            joules = CounterMetricFamily(
                f"prunebench_{prefix}energy_joules",
                f"{kind} energy of each meter since the server started.",
                labels=_LABELS,
            )
            watts = GaugeMetricFamily(f"prunebench_{prefix}power_watts", f"{kind} power of each meter.", labels=_LABELS)
            for meter in counters.meters:
                if meter.info.measured is measured:
                    labels = [self._model_name, meter.info.source, meter.info.domain, meter.info.device]
                    if meter.joules is not None:
                        joules.add_metric(labels, meter.joules)
                    if meter.watts is not None:
                        watts.add_metric(labels, meter.watts)
            yield from (family for family in (joules, watts) if family.samples)

    def _headline(self, counters: EnergyCounters) -> Iterable[_Family]:
        parts = self._parts(counters)
        joules = [part.joules for part in parts if part.joules is not None]
        if not parts or len(joules) < len(parts):
            return
        labels = [self._model_name, "+".join(sorted({part.info.source for part in parts}))]
        family = CounterMetricFamily(
            "prunebench_headline_energy_joules",
            "Measured energy since the server started: of all GPUs, without one of CPU packages and DRAM.",
            labels=("model_name", "source"),
        )
        family.add_metric(labels, math.fsum(joules))
        yield family

    def _parts(self, counters: EnergyCounters) -> list[Counter]:
        """The meters that are added; none where one that belongs to them is missing."""
        infos, absent = choose_headline([meter.info for meter in counters.meters], counters.missing)
        chosen = [meter for meter in counters.meters if meter.info in infos]
        if absent or len(chosen) < 2:
            return [] if absent else chosen
        devices = {(info.source, info.device) for info in infos}
        seen = self._trace(counters.now_ns - _SEEN_NS).meters
        traces = [trace for trace in seen if (trace.info.source, trace.info.device) in devices]
        copies = {(traces[own].info.source, traces[own].info.device) for own in find_copies(traces)}
        return [meter for meter in chosen if (meter.info.source, meter.info.device) not in copies]
