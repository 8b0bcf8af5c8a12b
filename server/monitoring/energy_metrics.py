"""Joules and watts for `GET /metrics`, from the same meters as `GET /energy`. Modelled energy has names of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from energy.records import EnergyCounters

_LABELS = ("model_name", "source", "domain", "device")


class EnergyCollector(Collector):
    """Reads the sampler at each scrape. A meter that has failed has no sample, rather than a 0."""

    def __init__(self, model_name: str, counters: Callable[[], EnergyCounters]) -> None:
        self._model_name = model_name
        self._counters = counters

    def describe(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        """Nothing: registering must not read the meters."""
        return []

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        """Joules since the server started, and the newest watts."""
        meters = self._counters().meters
        for measured, prefix, kind in ((True, "", "Measured"), (False, "modelled_", "Modelled, not measured:")):
            joules = CounterMetricFamily(
                f"prunebench_{prefix}energy_joules", f"{kind} energy since the server started.", labels=_LABELS
            )
            watts = GaugeMetricFamily(f"prunebench_{prefix}power_watts", f"{kind} power.", labels=_LABELS)
            for meter in meters:
                if meter.info.measured is measured:
                    labels = [self._model_name, meter.info.source, meter.info.domain, meter.info.device]
                    if meter.joules is not None:
                        joules.add_metric(labels, meter.joules)
                    if meter.watts is not None:
                        watts.add_metric(labels, meter.watts)
            yield from (family for family in (joules, watts) if family.samples)
