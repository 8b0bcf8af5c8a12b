"""One trial's request records as figures: vectorised over columns, a batch of rows at a time, so memory stays bounded.

Definitions are docs/explanation/measurement.md's. Requests and their latencies are those of requests that ended inside the window, a
failed one being slower than any; tokens are credited by their own arrival inside it, whatever became of their request, since
the server spent time and energy on them. The window's start is outside it and its end inside, so that windows side by side
share out everything once. Under window rules 1, by which earlier runs were recorded, latencies are those of requests sent
inside, and both edges are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from loadgen.metrics.backlog import Backlog, backlog_trend, filled_ns
from loadgen.metrics.gaps import Gaps
from loadgen.metrics.generations import TIMES, Generations, find_generations
from loadgen.metrics.latencies import BoolArray, FloatArray, ranked
from loadgen.records.arrivals import read_arrivals
from loadgen.records.schema import REQUEST_SCHEMA, RequestRecord, Trial, WindowRules
from loadgen.records.table import ROWS_AT_ONCE, Records

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
    e2e_ms: FloatArray
    lag_ms: FloatArray
    sent_ms: FloatArray  # after the start of the window
    end_ms: FloatArray
    asked_tokens: FloatArray  # output tokens that were asked for
    prompt_tokens: FloatArray
    output_tokens: FloatArray
    streamed_tokens: FloatArray  # the cumulative count at the last chunk
    itl_ms: dict[int, float]
    completed_itl_ms: dict[int, float]
    itl_mean_ms: float | None
    itl_std_ms: float | None
    chunks: int
    window_output_tokens: int
    window_prompt_tokens: int  # of requests whose first token arrived in the window
    window_requests: int  # completed, ended in the window
    window_arrivals: int  # completed, sent in the window
    offered_requests: int  # sent in the window, whatever became of them
    # Of an open loop, from when it was filled to the last sending; None: another load, or rules 1.
    backlog: Backlog | None
    mean_in_flight: float  # requests between sending and end, averaged over the window
    counted_by: frozenset[str]
    first_error: str | None
    tpot_unknown: int  # completed requests that have a time per token, but the count of their first chunk is unknown
    generation_ms: FloatArray  # per token, of each generation of a closed loop's window, at most 100; else empty
    tpot_reason: str | None  # why there is no time per token and no gap at all: unknown in more than `UNKNOWN_SHARE`

    @property
    def requests(self) -> int:
        """How many were recorded, failed ones included."""
        return len(self.completed)

    @property
    def saturated(self) -> bool:
        """Whether requests piled up, beyond chance: what is completed then says more than what arrives."""
        return self.backlog is not None and self.backlog.growing

    @property
    def credited_requests(self) -> int:
        """What requests/s and J/request are of: completed requests that ended in the window; where an open loop's server
        kept up, those that were sent in it, as many in the long run and not shifted by how long they took.
        """
        return self.window_requests if self.backlog is None or self.saturated else self.window_arrivals

    @property
    def overlapped(self) -> bool:
        """Whether any two requests were under way at once; one without an end is under way for good."""
        was_sent = ~np.isnan(self.sent_ms)
        sent, end = self.sent_ms[was_sent], np.nan_to_num(self.end_ms[was_sent], nan=np.inf)
        order = np.argsort(sent, kind="stable")
        return bool((sent[order][1:] < np.maximum.accumulate(end[order])[:-1]).any())

    @property
    def output_tokens_per_s(self) -> float:
        """Output throughput: tokens that arrived in the window, over its length."""
        return self.window_output_tokens / self.window_s


@dataclass(frozen=True)
class _Part:
    """What one batch of rows gives; arrays of a batch in `arrays`, totals in `counts`."""

    arrays: dict[str, FloatArray]
    completed: BoolArray
    itl_ms: npt.NDArray[np.float32]
    failed_itl_ms: npt.NDArray[np.float32]
    counts: dict[str, int]
    in_flight_ms: float  # of the window's milliseconds, for each request those between its sending and its end
    generation_tokens: npt.NDArray[np.int64]
    counted_by: set[str]
    first_error: str | None


def read_metrics(trial: Trial, parquet: Path) -> TrialMetrics:
    """Measure a `requests.parquet`. Raises OSError or pyarrow.ArrowException if it cannot be read."""
    with pq.ParquetFile(parquet, page_checksum_verification=True) as file:
        generations = find_generations(trial, Records(file.read(TIMES)))
        return _measure(trial, generations, file.iter_batches(ROWS_AT_ONCE, columns=_COLUMNS))


def measure_records(trial: Trial, records: Sequence[RequestRecord]) -> TrialMetrics:
    """Measure records that are still in memory."""
    table = Records.of(records)
    return _measure(trial, find_generations(trial, table), table.batches(_COLUMNS, ROWS_AT_ONCE))


_COLUMNS = [
    "scheduled_ns", "sent_ns", "first_token_ns", "last_token_ns", "end_ns", "arrival_ns", "arrival_tokens", "asked_tokens", "prompt_tokens",
    "output_tokens", "counted_by", "error", "finish_reason",
]  # fmt: skip


_TIMES = ["scheduled_ns", "sent_ns", "end_ns"]  # that say what was in flight


def _measure(trial: Trial, generations: Generations, batches: Iterable[Any]) -> TrialMetrics:
    """Join what the batches give. An empty trial gives empty arrays."""
    parts, times = [], []
    for batch in batches:
        parts.append(_measure_batch(trial, generations, batch))
        times.append(batch.select(_TIMES))
    if not parts:
        parts = [_measure_batch(trial, generations, pa.RecordBatch.from_pylist([], schema=REQUEST_SCHEMA))]
    arrays = {name: np.concatenate([p.arrays[name] for p in parts]) for name in parts[0].arrays}
    counts = {name: sum(p.counts[name] for p in parts) for name in parts[0].counts}
    itl = Gaps([p.itl_ms for p in parts])
    every = Gaps([p.itl_ms for p in parts] + [p.failed_itl_ms for p in parts])
    tpot_reason = _why_unknown(counts["tpot_unknown"], counts["tpot"])
    if tpot_reason is not None:
        arrays["tpot_ms"][:] = np.nan
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
        window_prompt_tokens=counts["prompt_tokens"],
        window_requests=counts["requests"],
        window_arrivals=counts["arrivals"],
        offered_requests=counts["offered"],
        backlog=_backlog(trial, times),
        generation_ms=generations.ms_per_token(np.sum([p.generation_tokens for p in parts], axis=0)),
        tpot_unknown=counts["tpot_unknown"],
        tpot_reason=tpot_reason,
        mean_in_flight=sum(p.in_flight_ms for p in parts) / (trial.window_end_ns - trial.window_start_ns) * 1e6,
        **arrays,
    )


def _backlog(trial: Trial, times: list[Any]) -> Backlog | None:
    """Whether an open loop's requests piled up. None where the window holds the ramps: then all that ended counts.

    A server that took over half of the sending to fill may have been filling all the time: of it nothing can be said.
    """
    if trial.window_rules == 1 or trial.window_rule not in {"steady", "half"}:
        return None
    records = Records(pa.Table.from_batches(times))
    first, last = int(records.times("sent_ns").min()), int(records.times("sent_ns").max())
    filled = filled_ns(records)
    late = filled is None or filled - first > (last - first) / 2
    return backlog_trend(records, last if late or filled is None else filled, last)


def _why_unknown(unknown: int, requests: int) -> str | None:
    if unknown <= UNKNOWN_SHARE * requests:
        return None
    return (
        f"the tokens of the first chunk are unknown in {unknown:,} of {requests:,} requests: "
        "the server sends no running usage, and their chunks are not one token each"
    )


def _measure_batch(trial: Trial, generations: Generations, batch: Any) -> _Part:
    start = trial.window_start_ns
    scheduled, sent, first, last, end = (
        _since(batch.column(f"{name}_ns"), start) for name in ("scheduled", "sent", "first_token", "last_token", "end")
    )
    prompt, output = _floats(batch.column("prompt_tokens")), _floats(batch.column("output_tokens"))
    asked, fixed = _floats(batch.column("asked_tokens")), trial.workload.output_tokens
    asked = np.where(np.isnan(asked), fixed if isinstance(fixed, int) else np.nan, asked)
    inside = _Inside((trial.window_end_ns - start) / 1e6, trial.window_rules)
    completed = batch.column("error").is_null().to_numpy(zero_copy_only=False)
    finished = completed & inside(last if trial.window_rules == 1 else end)
    never_sent = np.isnan(sent)
    counted = inside(np.where(never_sent, end, sent) if trial.window_rules == 1 else end)  # whose latencies count
    arrivals = read_arrivals(batch, start)
    with np.errstate(invalid="ignore", divide="ignore"):
        # An answer that came in one piece says nothing of the time per token; nor is one expected of a single token.
        several = (last > first) & (output > 1)
        tpot = np.where(several, (last - first) / arrivals.after_first, np.nan)
    known = ~np.isnan(arrivals.after_first)
    return _Part(
        arrays={
            "ttft_ms": ranked(first - sent, counted, completed),
            "scheduled_ttft_ms": ranked(first - scheduled, counted, completed),
            "tpot_ms": ranked(tpot, counted & (completed | ~(asked <= 1)), completed),
            "e2e_ms": ranked(last - sent, counted, completed),
            "lag_ms": sent - scheduled,
            "sent_ms": sent,
            "end_ms": end,
            "asked_tokens": asked,
            "prompt_tokens": prompt,
            "output_tokens": output,
            "streamed_tokens": arrivals.streamed,
        },
        completed=completed,
        itl_ms=arrivals.itl_ms(counted & completed & known),
        failed_itl_ms=arrivals.itl_ms(counted & ~completed & known),
        counts={
            "chunks": arrivals.chunks,
            "output_tokens": int(arrivals.tokens[inside(arrivals.at_ms)].sum()),
            "prompt_tokens": int(np.nansum(prompt[inside(first)])),
            "requests": int(finished.sum()),
            "arrivals": int((completed & inside(sent)).sum()),
            "offered": int(inside(sent).sum()),
            "tpot": int((counted & completed & several).sum()),
            "tpot_unknown": int((counted & completed & several & ~known).sum()),
        },
        generation_tokens=generations.tokens(arrivals),
        in_flight_ms=_overlap_ms(sent, end, inside.window_ms),
        counted_by={value for value in batch.column("counted_by").unique().to_pylist() if value},
        first_error=next((value for value in batch.column("error").drop_null().to_pylist()), None),
    )


def _since(column: Any, start_ns: int) -> FloatArray:
    """Milliseconds after `start_ns`; nulls become NaN. The subtraction is done on integers: a float would lose digits."""
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    ms = (column.fill_null(0).to_numpy(zero_copy_only=False) - start_ns) / 1e6
    return np.where(valid, ms, np.nan)


def _floats(column: Any) -> FloatArray:
    values: FloatArray = column.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
    return values


@dataclass(frozen=True)
class _Inside:
    """Which moments, ms after the window's start, are within it. NaN is outside."""

    window_ms: float
    rules: WindowRules

    def __call__(self, ms: FloatArray) -> npt.NDArray[np.bool_]:
        begun = ms >= 0 if self.rules == 1 else ms > 0
        return begun & (ms <= self.window_ms)


def _overlap_ms(sent: FloatArray, end: FloatArray, window_ms: float) -> float:
    """Of all requests together, the time in flight within the window; what was never sent has none."""
    inside = np.clip(end, 0, window_ms) - np.clip(sent, 0, window_ms)
    return float(np.nansum(inside))
