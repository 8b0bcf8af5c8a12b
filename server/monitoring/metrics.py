"""`GET /metrics`: Prometheus text, under vLLM's names where the meaning is vLLM's.

Token counters grow with every piece of text; histograms get one observation a request. Times are seconds from when the request
reaches the engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from energy.records import EnergyCounters, EnergyTrace
from server.engines.base import EngineLoad, FinishReason, RequestTimes
from server.machine.memory import Footprint
from server.monitoring.energy_metrics import EnergyCollector

_LABELS = ("model_name",)
_Family = GaugeMetricFamily | CounterMetricFamily
_TTFT_BUCKETS = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    20.0,
    40.0,
    80.0,
)
_TPOT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_E2E_BUCKETS = (
    0.05,
    0.1,
    0.3,
    0.5,
    0.8,
    1.0,
    1.5,
    2.0,
    2.5,
    5.0,
    10.0,
    15.0,
    20.0,
    30.0,
    40.0,
    60.0,
    120.0,
    240.0,
    480.0,
)


class Metrics:
    """One server's metrics, in a registry of their own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, model_name: str, load: Callable[[], EngineLoad]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Occupancy(model_name, load))

        def counter(name: str, text: str) -> Counter:
            return Counter(name, text, _LABELS, registry=self._registry).labels(model_name)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, _LABELS, registry=self._registry, buckets=buckets).labels(model_name)

        self.prompt_tokens = counter("vllm:prompt_tokens", "Prompt tokens of requests that reached the engine.")
        self.generated_tokens = 0  # a plain number, read at the scrape: a counter would take its lock at every token
        self.ttft = histogram("vllm:time_to_first_token_seconds", "Time to the first output token.", _TTFT_BUCKETS)
        self.tpot = histogram(
            "vllm:request_time_per_output_token_seconds", "(last - first token) / (output tokens - 1).", _TPOT_BUCKETS
        )
        self.e2e = histogram("vllm:e2e_request_latency_seconds", "Time to the last output token.", _E2E_BUCKETS)
        self.queue, self.prefill, self.decode = (
            histogram(f"vllm:request_{phase}_time_seconds", f"Time {where}, where the engine reports it.", _E2E_BUCKETS)
            for phase, where in (
                ("queue", "before a place in the batch"),
                ("prefill", "from there to the first token"),
                ("decode", "from the first token to the last"),
            )
        )
        self._finished = Counter(
            "vllm:request_success",
            "Requests that ended by themselves.",
            (*_LABELS, "finished_reason"),
            registry=self._registry,
        )
        self._model_name = model_name
        self._registry.register(_Generated(model_name, self))

    def begin(self, prompt_tokens: int) -> Timing:
        """Count a request that goes to the engine now."""
        self.prompt_tokens.inc(prompt_tokens)
        return Timing(self)

    def finished(self, reason: FinishReason) -> None:
        """Count a request that has ended."""
        self._finished.labels(self._model_name, reason).inc()

    def loaded(self, footprint: Footprint) -> None:
        """Add the cost of loading; a figure that is not known is left out."""
        for name, text, value in (
            ("seconds", "Time the engine took to start.", footprint.seconds),
            ("resident_bytes", "RSS of the engine's processes once loaded.", footprint.resident_bytes),
            ("gpu_bytes", "GPU memory in use once loaded, less what was before.", footprint.gpu_bytes),
        ):
            if value is not None:
                Gauge(f"prunebench_load_{name}", text, _LABELS, registry=self._registry).labels(self._model_name).set(
                    value
                )

    def metered(self, counters: Callable[[], EnergyCounters], trace: Callable[[int], EnergyTrace]) -> None:
        """Add energy, as the sampler has it."""
        self._registry.register(EnergyCollector(self._model_name, counters, trace))

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)


class Timing:
    """Follows one request through its pieces."""

    __slots__ = ("_begun", "_first", "_metrics", "_tokens")

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._begun = time.perf_counter()
        self._first: float | None = None
        self._tokens = 0

    def wrote(self, tokens: int) -> None:
        """The request has `tokens` output tokens now."""
        if tokens == self._tokens:
            return
        self._metrics.generated_tokens += tokens - self._tokens
        self._tokens = tokens
        if self._first is None:
            self._first = time.perf_counter()
            self._metrics.ttft.observe(self._first - self._begun)

    def finished(self, reason: FinishReason, times: RequestTimes | None) -> None:
        """The request is complete. Without the engine's times (a stop string ended it) no phase is observed."""
        now = time.perf_counter()
        if times is not None:
            self._metrics.queue.observe(times.queue_s)
            self._metrics.prefill.observe(times.prefill_s)
            self._metrics.decode.observe(times.decode_s)
        self._metrics.finished(reason)
        self._metrics.e2e.observe(now - self._begun)
        if self._first is not None and self._tokens > 1:
            self._metrics.tpot.observe((now - self._first) / (self._tokens - 1))


class _Generated(Collector):
    """The count of generated tokens."""

    def __init__(self, model_name: str, metrics: Metrics) -> None:
        self._model_name = model_name
        self._metrics = metrics

    def collect(self) -> Iterable[_Family]:
        family = CounterMetricFamily("vllm:generation_tokens", "Output tokens sent to clients.", labels=_LABELS)
        family.add_metric([self._model_name], self._metrics.generated_tokens)
        yield family


class _Occupancy(Collector):
    """The engine's load at the moment of the scrape."""

    def __init__(self, model_name: str, load: Callable[[], EngineLoad]) -> None:
        self._model_name = model_name
        self._load = load

    def describe(self) -> Iterable[_Family]:
        return []  # without this, registering would query an engine that may not have started

    def collect(self) -> Iterable[_Family]:
        load = self._load()
        for name, text, value in (
            ("vllm:num_requests_running", "Requests in the batch.", load.running),
            ("vllm:num_requests_waiting", "Requests not yet in the batch.", load.waiting),
            ("vllm:kv_cache_usage_perc", "KV cache in use; 1 is all of it.", load.kv_usage),
        ):
            gauge = GaugeMetricFamily(name, text, labels=_LABELS)
            gauge.add_metric([self._model_name], value)
            yield gauge
        if load.prefix_hit_tokens is not None:
            hits = CounterMetricFamily(
                "vllm:prefix_cache_hits", "Prompt tokens found in the prefix cache.", labels=_LABELS
            )
            hits.add_metric([self._model_name], load.prefix_hit_tokens)
            yield hits
        if load.preemptions is not None:
            preemptions = CounterMetricFamily(
                "vllm:num_preemptions", "Requests preempted: removed from the batch and computed again.", labels=_LABELS
            )
            preemptions.add_metric([self._model_name], load.preemptions)
            yield preemptions
        for kind, count in zip(("draft", "accepted"), load.drafts or (), strict=False):
            family = CounterMetricFamily(
                f"vllm:spec_decode_num_{kind}_tokens", f"Speculative decoding: {kind} tokens.", labels=_LABELS
            )
            family.add_metric([self._model_name], count)
            yield family
