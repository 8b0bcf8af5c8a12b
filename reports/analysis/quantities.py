"""The compared quantities of a trial: unit, direction, value, and the reason of a missing value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from loadgen.metrics.latencies import FloatArray, percentiles
from loadgen.metrics.metrics import TrialMetrics
from loadgen.metrics.request_joules import share_joules
from loadgen.records.schema import Trial
from reports.statistics.failures import AMONG_FAILED
from reports.statistics.percentiles import percentile
from reports.statistics.ratios import Direction


class Amount(NamedTuple):
    """A value, or the reason why there is none."""

    value: float | None
    reason: str | None = None


@dataclass(frozen=True)
class Quantity:
    """One quantity; `key` is its name in report.json and cells.csv, with the unit."""

    key: str
    title: str
    unit: str
    better: Direction
    of: Callable[[Trial, TrialMetrics], Amount]

    @property
    def is_latency(self) -> bool:
        """Whether it ranks failed requests."""
        return self.unit == "ms"


def _tail(values: FloatArray, wanted: int) -> Amount:
    """A percentile, withheld with the required number if there are too few requests."""
    found = percentile(values, wanted)
    return Amount(found.value, found.reason)


def _percentile(values: FloatArray, wanted: int) -> Amount:
    found = percentiles(values, [wanted]).get(wanted)
    if found is None:
        return Amount(None, "no completed request in the window has it")
    return Amount(found) if math.isfinite(found) else Amount(None, AMONG_FAILED)


def _tpot(metrics: TrialMetrics, of: Callable[[FloatArray, int], Amount], wanted: int) -> Amount:
    return Amount(None, metrics.tpot_reason) if metrics.tpot_reason else of(metrics.tpot_ms, wanted)


def _itl(metrics: TrialMetrics, wanted: int) -> Amount:
    if metrics.tpot_reason or metrics.itl_reason:
        return Amount(None, metrics.tpot_reason or metrics.itl_reason)
    found = metrics.itl_ms.get(wanted)
    return Amount(found, None if found is not None else "no request has a second token")


def _scheduled_ttft(trial: Trial, metrics: TrialMetrics) -> Amount:
    if not trial.workload.open_loop:
        return Amount(None, "a closed loop has no schedule")
    return _percentile(metrics.scheduled_ttft_ms, 50)


def _per(joules: float | None, credited: float | None, of_what: str, reason: str | None) -> Amount:
    if joules is None:
        return Amount(None, reason)
    if credited is None:
        return Amount(None, f"{of_what}s were not recorded")
    if credited == 0:
        return Amount(None, f"no {of_what} in the window")
    return Amount(joules / credited)


_Count = Callable[[TrialMetrics], float | None]


def _gross(credited: _Count, of_what: str) -> Callable[[Trial, TrialMetrics], Amount]:
    def of(trial: Trial, metrics: TrialMetrics) -> Amount:
        energy = trial.energy
        return _per(energy.gross_joules, credited(metrics), of_what, energy.reason or "energy was not measured")

    return of


def _mean_watts(trial: Trial, metrics: TrialMetrics) -> Amount:
    energy = trial.energy
    if energy.gross_joules is None:
        return Amount(None, energy.reason or "energy was not measured")
    if not metrics.requests:
        return Amount(None, "no request was measured")
    return Amount(energy.gross_joules / metrics.window_s)


def _net(trial: Trial, metrics: TrialMetrics) -> Amount:
    energy = trial.energy
    reason = energy.net_reason or energy.reason or "energy was not measured"
    return _per(energy.net_joules, metrics.window_output_tokens, "output token", reason)


def _modelled(credited: _Count, of_what: str) -> Callable[[Trial, TrialMetrics], Amount]:
    def of(trial: Trial, metrics: TrialMetrics) -> Amount:
        return _per(trial.energy.modelled_joules, credited(metrics), of_what, "no power per core was assumed")

    return of


def _request_joules(wanted: int, of: Callable[[FloatArray, int], Amount]) -> Callable[[Trial, TrialMetrics], Amount]:
    def found(trial: Trial, metrics: TrialMetrics) -> Amount:
        shared = share_joules(trial.energy, metrics)
        own = shared.of_requests(metrics.completed)
        if shared.reason or not own.size:
            return Amount(None, shared.reason or "no completed request lies wholly in the window")
        return of(own, wanted)

    return found


def _good_joules(trial: Trial, metrics: TrialMetrics) -> Amount:
    if metrics.good is None:
        return Amount(None, metrics.tpot_reason or "the workload has no objectives")
    reason = trial.energy.reason or "energy was not measured"
    return _per(trial.energy.gross_joules, float(metrics.good.sum()), "request that met every objective", reason)


def _goodput(of: _Count) -> Callable[[Trial, TrialMetrics], Amount]:
    """A figure of the requests that met every objective, which may be 0."""

    def found(_trial: Trial, metrics: TrialMetrics) -> Amount:
        if not any(metrics.objectives):
            return Amount(None, "the workload has no objectives")
        value = of(metrics) if metrics.requests else None
        return Amount(value, metrics.tpot_reason or "no request ended in the window" if value is None else None)

    return found


def _reasoning(of: Callable[[Trial, TrialMetrics], Amount]) -> Callable[[Trial, TrialMetrics], Amount]:
    """A figure of a load whose requests reasoned apart from their answers."""

    def found(trial: Trial, metrics: TrialMetrics) -> Amount:
        return Amount(None, NO_REASONING) if metrics.reasoning_share is None else of(trial, metrics)

    return found


def _first_reasoning(_trial: Trial, metrics: TrialMetrics) -> Amount:
    found = _percentile(metrics.first_reasoning_ms, 50)
    return found if found.value is not None else Amount(None, metrics.hidden_reasoning or found.reason)


def _mean_tokens(of: Callable[[TrialMetrics], FloatArray]) -> Callable[[Trial, TrialMetrics], Amount]:
    """Over the completed requests that reasoned."""

    def found(_trial: Trial, metrics: TrialMetrics) -> Amount:
        tokens = of(metrics)
        tokens = tokens[metrics.completed & np.isfinite(metrics.reasoning_tokens) & np.isfinite(tokens)]
        return Amount(float(tokens.mean())) if tokens.size else Amount(None, "no request that reasoned completed")

    return _reasoning(found)


def _reasoning_joules(of: Callable[[float], float]) -> Callable[[Trial, TrialMetrics], Amount]:
    """Of J/request, what falls to a share of the output tokens that is a function of that of reasoning."""

    def found(trial: Trial, metrics: TrialMetrics) -> Amount:
        whole, share = _gross(_requests, "completed request")(trial, metrics), metrics.reasoning_share
        return whole if whole.value is None or share is None else Amount(whole.value * of(share))

    return _reasoning(found)


def _output(metrics: TrialMetrics) -> int:
    return metrics.window_output_tokens


def _total(metrics: TrialMetrics) -> int:
    return metrics.window_tokens


def _characters(metrics: TrialMetrics) -> float | None:
    return metrics.window_output_characters


def _requests(metrics: TrialMetrics) -> int:
    return metrics.credited_requests


def _throughput(_trial: Trial, metrics: TrialMetrics) -> Amount:
    if metrics.window_output_tokens == 0:
        return Amount(None, "no output token in the window")
    return Amount(metrics.output_tokens_per_s)


def _characters_per_s(_trial: Trial, metrics: TrialMetrics) -> Amount:
    characters = metrics.window_output_characters
    if characters is None:
        return Amount(None, "output characters were not recorded")
    return Amount(characters / metrics.window_s) if characters else Amount(None, "no output character in the window")


def _character_ms(_trial: Trial, metrics: TrialMetrics) -> Amount:
    if metrics.window_output_characters is None:
        return Amount(None, "output characters were not recorded")
    return Amount(None, metrics.tpot_reason) if metrics.tpot_reason else _percentile(metrics.character_ms, 50)


OUTPUT_TOKENS_PER_S = "output_tokens_per_s"
TTFT, TPOT, E2E = "median_ttft_ms", "median_tpot_ms", "median_e2e_ms"
JOULES, NET_JOULES = "joules_per_output_token", "net_joules_per_output_token"
MODELLED_JOULES = "modelled_joules_per_output_token"
REQUEST_JOULES = "joules_per_request"
MEDIAN_REQUEST_JOULES, P99_REQUEST_JOULES = "median_request_joules", "p99_request_joules"  # of the requests' shares
GOOD_JOULES = "joules_per_good_request"
GOOD_PER_S, GOOD_SHARE = "good_requests_per_s", "good_share"  # of those that met every objective of the workload
OF_GOODPUT = (GOOD_PER_S, GOOD_SHARE, GOOD_JOULES)
FIRST_REASONING, FIRST_ANSWER = "median_first_reasoning_ms", "median_first_answer_ms"
REASONING_TOKENS, ANSWER_TOKENS = "reasoning_tokens_per_request", "answer_tokens_per_request"
REASONING_JOULES, ANSWER_JOULES = "reasoning_joules_per_request", "answer_joules_per_request"  # by share of tokens
OF_REASONING = (
    FIRST_REASONING, FIRST_ANSWER, REASONING_TOKENS, ANSWER_TOKENS, REASONING_JOULES, ANSWER_JOULES,
)  # fmt: skip
NO_REASONING = "no request reasoned apart from its answer"
# Of text, for configurations whose tokenizers differ.
OUTPUT_CHARACTERS_PER_S, CHARACTER_MS = "output_characters_per_s", "median_time_per_character_ms"
CHARACTER_JOULES, MODELLED_CHARACTER_JOULES = "joules_per_output_character", "modelled_joules_per_output_character"
OF_TEXT = {
    OUTPUT_TOKENS_PER_S: OUTPUT_CHARACTERS_PER_S,
    TPOT: CHARACTER_MS,
    E2E: CHARACTER_MS,  # answers of one length in tokens have other lengths in text
    JOULES: CHARACTER_JOULES,
    MODELLED_JOULES: MODELLED_CHARACTER_JOULES,
}
JOULES_KEYS = frozenset({JOULES, CHARACTER_JOULES})  # those that the advice looks at

_ALL = (
    Quantity(OUTPUT_TOKENS_PER_S, "Output tokens/s", "tokens/s", "higher", _throughput),
    Quantity(TTFT, "TTFT", "ms", "lower", lambda _, m: _percentile(m.ttft_ms, 50)),
    Quantity("p99_ttft_ms", "TTFT p99", "ms", "lower", lambda _, m: _tail(m.ttft_ms, 99)),
    Quantity("median_scheduled_ttft_ms", "TTFT from schedule", "ms", "lower", _scheduled_ttft),
    Quantity(TPOT, "TPOT", "ms", "lower", lambda _, m: _tpot(m, _percentile, 50)),
    Quantity("p99_tpot_ms", "TPOT p99", "ms", "lower", lambda _, m: _tpot(m, _tail, 99)),
    Quantity("median_itl_ms", "ITL", "ms", "lower", lambda _, m: _itl(m, 50)),
    Quantity("p99_itl_ms", "ITL p99", "ms", "lower", lambda _, m: _itl(m, 99)),
    Quantity(E2E, "E2E", "ms", "lower", lambda _, m: _percentile(m.e2e_ms, 50)),
    Quantity(JOULES, "J/output token", "J", "lower", _gross(_output, "output token")),
    Quantity("joules_per_total_token", "J/total token", "J", "lower", _gross(_total, "token")),
    Quantity(REQUEST_JOULES, "J/request", "J", "lower", _gross(_requests, "completed request")),
    Quantity(MEDIAN_REQUEST_JOULES, "J/request, median", "J", "lower", _request_joules(50, _percentile)),
    Quantity(P99_REQUEST_JOULES, "J/request, p99", "J", "lower", _request_joules(99, _tail)),
    Quantity(GOOD_JOULES, "J/good request", "J", "lower", _good_joules),
    Quantity(GOOD_PER_S, "Good requests/s", "requests/s", "higher", _goodput(lambda m: m.good_per_s)),
    Quantity(GOOD_SHARE, "Good requests", "share", "higher", _goodput(lambda m: m.good_share())),
    Quantity("mean_watts", "Mean power", "W", "lower", _mean_watts),
    Quantity(NET_JOULES, "Net J/output token", "J", "lower", _net),
    Quantity(MODELLED_JOULES, "Modelled J/output token", "J", "lower", _modelled(_output, "output token")),
    Quantity("modelled_joules_per_total_token", "Modelled J/total token", "J", "lower", _modelled(_total, "token")),
    Quantity(
        "modelled_joules_per_request", "Modelled J/request", "J", "lower", _modelled(_requests, "completed request")
    ),
    Quantity(OUTPUT_CHARACTERS_PER_S, "Output characters/s", "characters/s", "higher", _characters_per_s),
    Quantity(CHARACTER_MS, "Time per character", "ms", "lower", _character_ms),
    Quantity(CHARACTER_JOULES, "J/output character", "J", "lower", _gross(_characters, "output character")),
    Quantity(
        MODELLED_CHARACTER_JOULES,
        "Modelled J/output character",
        "J",
        "lower",
        _modelled(_characters, "output character"),
    ),
    Quantity(
        FIRST_REASONING,
        "First reasoning token",
        "ms",
        "lower",
        _reasoning(_first_reasoning),
    ),
    Quantity(
        FIRST_ANSWER, "First answer token", "ms", "lower", _reasoning(lambda _, m: _percentile(m.first_answer_ms, 50))
    ),
    Quantity(
        REASONING_TOKENS, "Reasoning tokens/request", "tokens", "neither", _mean_tokens(lambda m: m.reasoning_tokens)
    ),
    Quantity(
        ANSWER_TOKENS,
        "Answer tokens/request",
        "tokens",
        "neither",
        _mean_tokens(lambda m: m.output_tokens - m.reasoning_tokens),
    ),
    Quantity(REASONING_JOULES, "Reasoning J/request", "J", "lower", _reasoning_joules(lambda share: share)),
    Quantity(ANSWER_JOULES, "Answer J/request", "J", "lower", _reasoning_joules(lambda share: 1 - share)),
)

QUANTITIES = {quantity.key: quantity for quantity in _ALL}
