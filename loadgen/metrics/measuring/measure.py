"""One trial's request records as figures: vectorised over columns, a batch of rows at a time, so memory stays bounded."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from loadgen.metrics.backlog import sending_trend
from loadgen.metrics.measuring.batch import COLUMNS, measure_batch
from loadgen.metrics.measuring.gaps import Gaps
from loadgen.metrics.measuring.generations import TIMES, Generations, find_generations
from loadgen.metrics.metrics import QUANTILES, TrialMetrics
from loadgen.records.batch import Batch
from loadgen.records.parquet import read_parquet
from loadgen.records.schema import RequestRecord, Trial
from loadgen.records.table import Records

# Of requests: so few are left out of a time per token, since their text decides it and not their speed.
UNKNOWN_SHARE = 0.01
_TIMES = ["scheduled_ns", "sent_ns", "end_ns"]  # that say what was in flight


def read_metrics(trial: Trial, parquet: Path) -> TrialMetrics:
    """Measure a `requests.parquet`. Raises OSError if it cannot be read."""
    batches = read_parquet(parquet, COLUMNS)
    begun = list(itertools.islice(batches, 2))
    if len(begun) < 2:  # nearly every trial, read once
        return _measure(trial, find_generations(trial, Records(begun)), begun)
    generations = find_generations(trial, Records(list(read_parquet(parquet, TIMES))))
    return _measure(trial, generations, itertools.chain(begun, batches))


def measure_records(trial: Trial, records: Sequence[RequestRecord]) -> TrialMetrics:
    """Measure records that are still in memory."""
    table = Records.of(records)
    return _measure(trial, find_generations(trial, table), table.batches(COLUMNS))


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
    itl = Gaps([gaps for p in parts for gaps in p.itl_ms.values()])
    every = Gaps([gaps for p in parts for by_group in (p.itl_ms, p.failed_itl_ms) for gaps in by_group.values()])
    grouped = trial.workload.part_names or np.isfinite(arrays["turn"]).any()
    groups = sorted({number for p in parts for number in p.itl_ms}) if grouped else []
    characters = sum(p.window_characters for p in parts)
    steady = trial.workload.window_cut == "steady"
    tpot_reason = _why_unknown(counts["tpot_unknown"], counts["tpot"])
    if tpot_reason is not None:
        arrays["tpot_ms"][:] = arrays["character_ms"][:] = np.nan
        itl = every = Gaps([])
        groups = []
    return TrialMetrics(
        window_s=(trial.window_end_ns - trial.window_start_ns) / 1e9,
        objectives=trial.workload.all_objectives,
        completed=np.concatenate([p.completed for p in parts]),
        itl_ms=every.percentiles(QUANTILES),
        completed_itl=itl.figures(QUANTILES),
        group_itl={n: Gaps([p.itl_ms[n] for p in parts if n in p.itl_ms]).figures(QUANTILES) for n in groups},
        ended=np.concatenate([p.ended for p in parts]),
        begun=np.concatenate([p.begun for p in parts]),
        counted_by=frozenset().union(*(p.counted_by for p in parts)),
        first_error=next((p.first_error for p in parts if p.first_error), None),
        chunks=counts["chunks"],
        window_output_tokens=counts["output_tokens"],
        window_output_characters=None if math.isnan(characters) else characters,
        window_prompt_tokens=counts["prompt_tokens"],
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
