"""Failed requests: a server that drops its slowest, and a configuration that times out, against the true latencies."""

from __future__ import annotations

import math

import numpy as np

from loadgen.metrics.measuring.measure import measure_records
from loadgen.metrics.metrics import TrialMetrics
from loadgen.records.schema import RequestRecord
from reports.analysis.quantities import QUANTITIES
from reports.statistics.failures import Failures, judge_failures, shares_differ
from reports.statistics.ratios import compare
from tests.loadgen.made import MS, trial, workload
from tests.truth.registry import Outcome, Row, rare, simulation

SOME = trial(0, 10**6, load=workload("concurrency"))
_BLOCKS, _REQUESTS = 5, 60
_LATENCIES = ("median_ttft_ms", "median_tpot_ms", "median_e2e_ms", "median_itl_ms")


def _measured(ttft_ms: np.ndarray, timeout_ms: float, step_ms: float = 5.0, tokens: int = 4) -> TrialMetrics:
    """A trial with these times to first token; requests above the timeout fail."""
    return measure_records(SOME, [_request(n, ms, timeout_ms, step_ms, tokens) for n, ms in enumerate(ttft_ms)])


def _request(n: int, ttft_ms: float, timeout_ms: float, step_ms: float, tokens: int) -> RequestRecord:
    record = RequestRecord(f"0-{n}", n, n, 0, sent_ns=0, asked_tokens=tokens)
    if ttft_ms > timeout_ms:
        record.end_ns, record.error = round(timeout_ms * MS), "no end of the answer"
        return record
    record.arrival_ns = [round((ttft_ms + step_ms * k) * MS) for k in range(tokens)]
    record.arrival_tokens = list(range(1, tokens + 1))
    record.first_token_ns, record.last_token_ns = record.arrival_ns[0], record.arrival_ns[-1]
    record.end_ns, record.output_tokens, record.counted_by = record.last_token_ns, tokens, "server-continuous-usage"
    return record


@simulation(
    short=80,
    long=4000,
    exact=Row(
        "percentiles with failed requests ranked", "a server that drops its slowest 0 to 20 %", "exact", 1.0, 1.0
    ),
    withheld=Row(
        "percentile that lands among the failed: withheld",
        "a server that drops its slowest 0 to 20 %",
        "always",
        1.0,
        1.0,
    ),
)
def percentile_with_failures(rng: np.random.Generator) -> Outcome:
    """A percentile below the timeout does not depend on whether slower answers were awaited."""
    ttft_ms = rng.gamma(2, 50, 400).round(3) + 1
    timeout_ms = float(np.quantile(ttft_ms, rng.uniform(0.8, 1.0)))
    metrics = _measured(ttft_ms, timeout_ms)
    ordered = sorted(ttft_ms.tolist())
    held, withheld = True, True
    for key, share in (("median_ttft_ms", 0.5), ("p99_ttft_ms", 0.99)):
        place = share * (len(ordered) - 1)
        low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
        found = QUANTITIES[key].of(SOME, metrics).value
        if high <= timeout_ms:
            held = held and found is not None and abs(found - (low + (high - low) * (place % 1))) < 1e-3
        else:
            withheld = withheld and found is None
    return {"exact": held, "withheld": withheld}


def _verdicts(rng: np.random.Generator, speed: float, share: float) -> set[str | None]:
    """The comparison of every latency for a configuration `speed` times as fast, of which a share of requests times out."""
    sides: list[dict[int, TrialMetrics]] = []
    for factor, lost in ((1 / speed, share), (1.0, 0.0)):
        side = {}
        for block in range(_BLOCKS):
            drift = math.exp(rng.normal(0, 0.01))
            ttft_ms = factor * drift * rng.gamma(20, 2.0, _REQUESTS)
            ttft_ms[rng.random(_REQUESTS) < lost] = 10**5
            side[block] = _measured(ttft_ms, 10**4, 5.0 * factor * drift)
        sides.append(side)
    found: set[str | None] = set()
    for key in _LATENCIES:
        quantity = QUANTITIES[key]
        amounts = [{block: quantity.of(SOME, m) for block, m in side.items()} for side in sides]
        values = [{block: a.value for block, a in side.items() if a.value is not None} for side in amounts]
        failures = [
            Failures(sum(int((~m.completed).sum()) for m in side.values()), sum(m.requests for m in side.values()))
            for side in sides
        ]
        among = any(a.value is None for side in amounts for a in side.values())
        found.add(judge_failures(compare(*values, quantity.better), *failures, among_failed=among).verdict)
    return found


@simulation(
    short=40,
    long=2500,
    better=Row(
        "verdict on latency with 10 % timeouts",
        "5 blocks of 60 requests, else 1 to 2 times as fast",
        "never better",
        None,
        0.0,
    ),
)
def timeouts_never_better(rng: np.random.Generator) -> Outcome:
    """One configuration times out in a tenth of its requests, at any speed of the others."""
    return {"better": "better" in _verdicts(rng, rng.uniform(1, 2), 0.1)}


@simulation(
    short=40,
    long=2500,
    kept=Row(
        "verdict on latency with no timeouts",
        "5 blocks of 60 requests, 1.2 times as fast",
        "better in at least 95 %",
        0.95,
        None,
    ),
)
def without_timeouts_better(rng: np.random.Generator) -> Outcome:
    """The rule's cost: a configuration that is faster and completes everything."""
    return {"kept": _verdicts(rng, 1.2, 0.0) == {"better"}}


@simulation(
    short=400,
    long=20000,
    differ=rare("failed shares called unlike", "equal shares of 0 to 10 %, 300 requests each"),
)
def equal_failures(rng: np.random.Generator) -> Outcome:
    """Equal shares by Bernoulli draws."""
    share = rng.uniform(0, 0.1)
    own, other = (Failures(int((rng.random(300) < share).sum()), 300) for _ in range(2))
    return {"differ": shares_differ(own, other)}
