"""One trial's request records as figures: vectorised over columns, a batch of rows at a time, so memory stays bounded.

Definitions are docs/explanation/measurement.md's. Requests and their latencies are those of requests that ended inside the window, a
failed one being slower than any; tokens are credited by their own arrival inside it, also those of failed requests, since
the server spent time and energy on them. The window's start is outside it and its end inside, so that windows side by side
share out everything once. Under window rules 1, by which earlier runs were recorded, latencies are those of requests sent
inside, and both edges are.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadgen.metrics.backlog import Backlog, sending_trend
from loadgen.metrics.equal_shares import TokenCosts, equal_shares
from loadgen.metrics.latencies import BoolArray, FloatArray
from loadgen.metrics.measuring.batch import COLUMNS, measure_batch
from loadgen.metrics.measuring.gaps import Gaps
from loadgen.metrics.measuring.generations import TIMES, Generations, find_generations
from loadgen.records.batch import Batch
from loadgen.records.parquet import read_parquet
from loadgen.records.schema import RequestRecord, Trial
from loadgen.records.table import Records
from loadgen.workloads.base import Workload

QUANTILES = (5, 25, 50, 75, 95, 99)
# Of requests: so few are left out of a time per token, since their text decides it and not their speed.
UNKNOWN_SHARE = 0.01


@dataclass(frozen=True)
class TrialMetrics:
    """Figures of one trial. Arrays have one entry a request, in file order; NaN: it did not happen, or does not count.

    Latencies of a failed request are +inf (`loadgen.metrics.latencies`). A time per token needs two chunks, and the tokens of the first.

    `ttft_ms` counts from sending, `scheduled_ttft_ms` from the scheduled time; `e2e_ms` from sending to the last token.
    `lag_ms` is sent - scheduled. `itl_ms` maps percentiles (`QUANTILES`) to the gap before a token, every token counting
    once: a chunk of k tokens that took g is k tokens of g/k. It has the gaps of every token that came, those of failed requests
    too: a token that never came has no gap, and no rank. `completed_itl_ms`, mean and deviation are of completed requests.
    """

    window_s: float
    completed: BoolArray
    ttft_ms: FloatArray
    scheduled_ttft_ms: FloatArray
    tpot_ms: FloatArray
    character_ms: FloatArray  # time per character: a time per token, over the answer's characters per token
    e2e_ms: FloatArray
    lag_ms: FloatArray
    sent_ms: FloatArray  # after the start of the window
    end_ms: FloatArray
    asked_tokens: FloatArray  # output tokens that were asked for
    prompt_tokens: FloatArray
    output_tokens: FloatArray
    output_characters: FloatArray
    streamed_tokens: FloatArray  # the cumulative count at the last chunk
    first_answer_ms: FloatArray  # from sending to the first chunk after the reasoning, of requests that reasoned
    reasoning_tokens: FloatArray
    cached_tokens: FloatArray  # of the prompt
    turn: FloatArray  # of its session, from 0
    in_flight_ms: FloatArray  # of the window; 0 for a request outside of it
    answering_ms: FloatArray  # of those, from the headers to the last token
    prefill_share: FloatArray  # of the time up to its first token, the share in the window
    arrived_tokens: FloatArray  # output tokens that arrived in the window
    part: FloatArray  # of a mix, its number; 0 of another load
    itl_p99_ms: FloatArray  # of each request's own gaps; NaN where no objective asks for it
    itl_ms: dict[int, float]
    completed_itl_ms: dict[int, float]
    itl_mean_ms: float | None
    itl_std_ms: float | None
    chunks: int
    window_output_tokens: int
    window_output_characters: float | None  # None: not recorded of every answer
    window_prompt_tokens: int  # of requests whose first token arrived in the window
    window_requests: int  # completed, ended in the window
    window_arrivals: int  # completed, sent in the window
    offered_requests: int  # sent in the window, failed ones included
    trend: Backlog | None  # of an open loop, from when it was filled to the last sending; None: another load
    trend_counts: bool  # whether the window is of that part of the load
    busiest_second_tokens: int | None  # output tokens in the fullest second, counted from the first sending
    counted_by: frozenset[str]
    first_error: str | None
    no_reason: int  # completed requests without a finish_reason, whose stream ended with [DONE] alone
    generation_ms: FloatArray  # per token, of each generation of a closed loop's window, at most 100; else empty
    tpot_reason: str | None  # why there is no time per token and no gap at all: unknown in more than `UNKNOWN_SHARE`
    itl_reason: str | None = None  # why there is no gap although there are times per token: of an imported load
    costs: TokenCosts | None = None  # of a run whose energy model is known; None: joules are shared by time in flight

    @property
    def mean_in_flight(self) -> float:
        """Requests between sending and end, averaged over the window."""
        return float(self.in_flight_ms.sum()) / self.window_s / 1e3

    @functools.cached_property
    def idle_seconds(self) -> tuple[FloatArray, float]:
        """Each request's equal share of the window's seconds, and those with nothing in flight."""
        return equal_shares(self.sent_ms / 1e3, self.end_ms / 1e3, self.window_s)

    @property
    def requests(self) -> int:
        """How many were recorded, failed ones included."""
        return len(self.completed)

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return int((~self.completed).sum())

    @property
    def backlog(self) -> Backlog | None:
        """Whether an open loop's requests piled up. None where the window holds the ramps: then all that ended counts."""
        return self.trend if self.trend_counts else None

    @property
    def saturated(self) -> bool:
        """Whether requests piled up, beyond chance; throughput then counts completions, not arrivals."""
        return self.backlog is not None and self.backlog.growing

    @property
    def credited_requests(self) -> int:
        """The count behind requests/s and J/request: completed requests that ended in the window; where an open loop's server
        kept up, those that were sent in it, as many in the long run and not shifted by how long they took.
        """
        return self.window_requests if self.backlog is None or self.saturated else self.window_arrivals

    @property
    def overlapped(self) -> bool:
        """Whether any two requests were in flight together; one without an end stays in flight."""
        was_sent = ~np.isnan(self.sent_ms)
        sent, end = self.sent_ms[was_sent], np.nan_to_num(self.end_ms[was_sent], nan=np.inf)
        order = np.argsort(sent, kind="stable")
        return bool((sent[order][1:] < np.maximum.accumulate(end[order])[:-1]).any())

    @property
    def most_in_flight(self) -> int | None:
        """The largest number of requests in flight; at the same moment an end goes before a start."""
        known = ~np.isnan(self.sent_ms) & ~np.isnan(self.end_ms)
        sent, end = np.sort(self.sent_ms[known]), np.sort(self.end_ms[known])
        started = np.arange(1, sent.size + 1)
        return int((started - np.searchsorted(end, sent, side="right")).max()) if sent.size else None

    @property
    def window_tokens(self) -> int:
        """Output tokens that arrived in the window, and the prompts whose first token did."""
        return self.window_output_tokens + self.window_prompt_tokens

    @property
    def output_tokens_per_s(self) -> float:
        """Output throughput: tokens that arrived in the window, over its length."""
        return self.window_output_tokens / self.window_s

    @property
    def tokens_per_s(self) -> float:
        """Throughput of prompt and output tokens."""
        return self.window_tokens / self.window_s

    @property
    def prompt_tokens_per_s(self) -> float:
        """Throughput of prompt tokens."""
        return self.window_prompt_tokens / self.window_s

    @property
    def requests_per_s(self) -> float:
        """Request throughput, of `credited_requests`."""
        return self.credited_requests / self.window_s

    @property
    def completed_per_s(self) -> float:
        """Completed requests that ended in the window, over its length."""
        return self.window_requests / self.window_s

    @property
    def offered_rate(self) -> float:
        """Requests per second that were sent in the window."""
        return self.offered_requests / self.window_s

    @property
    def sending_rate(self) -> float:
        """Requests per second from the first sending of the load to the last."""
        sent = self.sent_ms[~np.isnan(self.sent_ms)]
        seconds = float(np.ptp(sent)) / 1e3
        return float(max(sent.size - 1, 1) / max(seconds, 1e-9))

    def met_objectives(self, workload: Workload) -> BoolArray | None:
        """Which requests of the window met every objective; None without objectives, or where the time per token is unknown.

        A failed request meets none. One token has no time per token, and so keeps to any.
        """
        limits = [(part, *each) for part, of in enumerate(workload.all_objectives) for each in of.items()]
        if self.tpot_reason is not None and {"tpot", "itl"} & {name for _, name, _ in limits}:
            return None
        times = {"ttft": self.ttft_ms, "tpot": self.tpot_ms, "itl": self.itl_p99_ms, "e2e": self.e2e_ms}
        broken = [(self.part == part) & (times[name] > limit) for part, name, limit in limits]
        return np.isfinite(self.ttft_ms) & ~np.logical_or.reduce(broken) if broken else None


def read_metrics(trial: Trial, parquet: Path) -> TrialMetrics:
    """Measure a `requests.parquet`. Raises OSError if it cannot be read."""
    generations = find_generations(trial, Records(list(read_parquet(parquet, TIMES))))
    return _measure(trial, generations, read_parquet(parquet, COLUMNS))


def measure_records(trial: Trial, records: Sequence[RequestRecord]) -> TrialMetrics:
    """Measure records that are still in memory."""
    table = Records.of(records)
    return _measure(trial, find_generations(trial, table), table.batches(COLUMNS))


_TIMES = ["scheduled_ns", "sent_ns", "end_ns"]  # that say what was in flight


def _measure(trial: Trial, generations: Generations, batches: Iterable[Batch]) -> TrialMetrics:
    """Join what the batches give. An empty trial gives empty arrays."""
    parts, times = [], []
    for batch in batches:
        parts.append(measure_batch(trial, generations, batch))
        times.append(batch.select(_TIMES))
    if not parts:
        parts = [measure_batch(trial, generations, Batch.of([]))]
    arrays = {name: np.concatenate([p.arrays[name] for p in parts]) for name in parts[0].arrays}
    counts = {name: sum(p.counts[name] for p in parts) for name in parts[0].counts}
    itl = Gaps([p.itl_ms for p in parts])
    every = Gaps([p.itl_ms for p in parts] + [p.failed_itl_ms for p in parts])
    characters = sum(p.window_characters for p in parts)
    steady = trial.workload.window_cut == "steady"
    tpot_reason = _why_unknown(counts["tpot_unknown"], counts["tpot"])
    if tpot_reason is not None:
        arrays["tpot_ms"][:] = arrays["character_ms"][:] = np.nan
        itl = every = Gaps([])
    return TrialMetrics(
        window_s=(trial.window_end_ns - trial.window_start_ns) / 1e9,
        completed=np.concatenate([p.completed for p in parts]),
        itl_ms=every.percentiles(QUANTILES),
        completed_itl_ms=itl.percentiles(QUANTILES),
        itl_mean_ms=itl.mean,
        itl_std_ms=itl.std,
        counted_by=frozenset().union(*(p.counted_by for p in parts)),
        first_error=next((p.first_error for p in parts if p.first_error), None),
        chunks=counts["chunks"],
        window_output_tokens=counts["output_tokens"],
        window_output_characters=None if math.isnan(characters) else characters,
        window_prompt_tokens=counts["prompt_tokens"],
        window_requests=counts["requests"],
        window_arrivals=counts["arrivals"],
        offered_requests=counts["offered"],
        trend=sending_trend(Records(times)) if times and steady and trial.workload.open_loop else None,
        trend_counts=trial.window_rules != 1 and trial.window_rule in {"steady", "half"},
        busiest_second_tokens=max(sum((Counter(p.tokens_by_second) for p in parts), Counter()).values(), default=None),
        generation_ms=generations.ms_per_token(np.sum([p.generation_tokens for p in parts], axis=0)),
        no_reason=counts["no_reason"],
        tpot_reason=tpot_reason,
        itl_reason=None,
        costs=None,
        **arrays,
    )


def _why_unknown(unknown: int, requests: int) -> str | None:
    if unknown <= UNKNOWN_SHARE * requests:
        return None
    return (
        f"the tokens of the first chunk are unknown in {unknown:,} of {requests:,} requests: "
        "the server sends no running usage, and their chunks are not one token each"
    )
