"""The figures of a turn of sessions or of a part of a mix, of which each trial has some and the baseline has the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from loadgen.metrics.groups import part_figures, turn_figures
from loadgen.metrics.metrics import TrialMetrics
from loadgen.metrics.request_joules import RequestJoules
from loadgen.records.schema import Trial
from reports.analysis.quantities import GOOD_JOULES, GOOD_PER_S, GOOD_SHARE
from reports.analysis.records import GroupFigures
from reports.statistics.ratios import Direction

_Why = Callable[[TrialMetrics, Mapping[str, Any]], str]


@dataclass(frozen=True)
class GroupQuantity:
    """One compared figure; `key` is its name in report.json, `source` in `loadgen.metrics.groups`."""

    key: str
    title: str
    unit: str
    better: Direction
    source: str
    why: _Why  # there is none

    @property
    def is_latency(self) -> bool:
        """Whether failed requests may forbid a verdict on it."""
        return self.unit == "ms"


def _no_request(_metrics: TrialMetrics, _group: Mapping[str, Any]) -> str:
    return "no request of it completed in the window"


def _no_gap(metrics: TrialMetrics, _group: Mapping[str, Any]) -> str:
    return metrics.tpot_reason or metrics.itl_reason or "no request of it in the window has a second token"


def _no_joules(_metrics: TrialMetrics, group: Mapping[str, Any]) -> str:
    return group["joules_reason"] or "no completed request of it lies wholly in the window"


def _no_goodput(_metrics: TrialMetrics, group: Mapping[str, Any]) -> str:
    return group["request_goodput_reason"] or "no request of it ended in the window"


def _no_good_joules(_metrics: TrialMetrics, group: Mapping[str, Any]) -> str:
    return f"{group['joules_per_good_request_reason']}"


REQUESTS_PER_S, TOKENS_PER_S = "requests_per_s", "output_tokens_per_s"
TTFT, TPOT, E2E = "mean_ttft_ms", "mean_tpot_ms", "mean_e2e_ms"
ITL, P99_ITL = "median_itl_ms", "p99_itl_ms"
REQUEST_JOULES = "mean_request_joules"

_ALL = (
    GroupQuantity(REQUESTS_PER_S, "Requests/s", "requests/s", "higher", "request_throughput", _no_request),
    GroupQuantity(TOKENS_PER_S, "Output tokens/s", "tokens/s", "higher", "output_throughput", _no_request),
    GroupQuantity(TTFT, "TTFT", "ms", "lower", "mean_ttft_ms", _no_request),
    GroupQuantity(TPOT, "TPOT", "ms", "lower", "mean_tpot_ms", _no_gap),
    GroupQuantity(ITL, "ITL", "ms", "lower", "median_itl_ms", _no_gap),
    GroupQuantity(P99_ITL, "ITL p99", "ms", "lower", "p99_itl_ms", _no_gap),
    GroupQuantity(E2E, "E2E", "ms", "lower", "mean_e2el_ms", _no_request),
    GroupQuantity(REQUEST_JOULES, "J/request", "J", "lower", "mean_request_joules", _no_joules),
    GroupQuantity(GOOD_PER_S, "Good requests/s", "requests/s", "higher", "request_goodput", _no_goodput),
    GroupQuantity(GOOD_SHARE, "Good requests", "share", "higher", "good_share", _no_goodput),
    GroupQuantity(GOOD_JOULES, "J/good request", "J", "lower", "joules_per_good_request", _no_good_joules),
)

GROUP_QUANTITIES = {quantity.key: quantity for quantity in _ALL}


def group_figures(trial: Trial, metrics: TrialMetrics, shared: RequestJoules) -> dict[str, GroupFigures]:
    """A trial's turns or parts, by their names in order; empty for another load."""
    turns = {f"{turn['turn']}": turn for turn in turn_figures(metrics, shared)}
    found = turns | {part["part"]: part for part in part_figures(trial.workload, metrics, shared)}
    return {name: _figures(metrics, group) for name, group in found.items()}


def _figures(metrics: TrialMetrics, group: Mapping[str, Any]) -> GroupFigures:
    missing = [quantity for quantity in _ALL if group[quantity.source] is None]
    return GroupFigures(
        requests=group["requests"],
        failed=group["failed"],
        prompt_tokens=group["mean_prompt_tokens"],
        cached_share=group["cached_share"],
        values={q.key: group[q.source] for q in _ALL if q not in missing},
        reasons={q.key: q.why(metrics, group) for q in missing},
    )
