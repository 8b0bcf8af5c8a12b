"""What one batch of rows gives to a trial's metrics. A trial is measured a batch at a time, so that memory stays bounded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadgen.metrics.latencies import BoolArray, FloatArray, ranked
from loadgen.metrics.measuring.arrivals import Arrivals, read_arrivals
from loadgen.metrics.measuring.generations import Generations
from loadgen.records.batch import Batch
from loadgen.records.schema import Trial, WindowRules

COLUMNS = [
    "index", "scheduled_ns", "sent_ns", "headers_ns", "first_token_ns", "last_token_ns", "end_ns", "arrival_ns", "arrival_tokens", "asked_tokens", "prompt_tokens",
    "output_tokens", "output_characters", "counted_by", "error", "finish_reason",
    "turn", "cached_tokens", "reasoning_tokens", "hidden_reasoning_tokens", "first_answer_ns",
]  # fmt: skip


@dataclass(frozen=True)
class Part:
    """What one batch of rows gives; arrays of a batch in `arrays`, totals in `counts`."""

    arrays: dict[str, FloatArray]
    completed: BoolArray
    ended: BoolArray  # completed, in the window
    begun: BoolArray  # completed, sent in the window
    itl_ms: dict[int, npt.NDArray[np.float32]]  # by the group of the request
    failed_itl_ms: dict[int, npt.NDArray[np.float32]]
    counts: dict[str, int]
    window_characters: float  # of text that arrived in the window; NaN: not recorded of a request with tokens there
    generation_tokens: npt.NDArray[np.int64]
    tokens_by_second: dict[int, int]  # seconds after the first sending -> output tokens that arrived
    counted_by: set[str]
    first_error: str | None


def measure_batch(trial: Trial, generations: Generations, batch: Batch) -> Part:
    """Latencies of each request, and the batch's share of the totals."""
    start = trial.window_start_ns
    scheduled, sent, headers, first, last, end = (
        _since(batch, f"{name}_ns", start)
        for name in ("scheduled", "sent", "headers", "first_token", "last_token", "end")
    )
    prompt, output = batch.floats("prompt_tokens"), batch.floats("output_tokens")
    asked, fixed = batch.floats("asked_tokens"), trial.workload.output_tokens
    asked = np.where(np.isnan(asked), fixed if isinstance(fixed, int) else np.nan, asked)
    inside = _Inside((trial.window_end_ns - start) / 1e6, trial.window_rules)
    completed = ~batch.valid("error")
    finished = completed & inside(last if trial.window_rules == 1 else end)
    never_sent = np.isnan(sent)
    counted = inside(np.where(never_sent, end, sent) if trial.window_rules == 1 else end)  # whose latencies count
    characters = batch.floats("output_characters")
    arrivals = read_arrivals(batch, start)
    arrived = arrivals.of_requests(np.where(inside(arrivals.at_ms), arrivals.tokens, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        # An answer that came in one piece says nothing of the time per token; nor is one expected of a single token.
        several = (last > first) & (output > 1)
        tpot = np.where(several, (last - first) / arrivals.after_first, np.nan)
        # A token of a request stands for its mean text: the characters of a chunk of its own are not recorded.
        per_token = characters / arrivals.streamed
        per_character = np.where(per_token > 0, tpot / per_token, np.nan)
    known = ~np.isnan(arrivals.after_first)
    wants_gaps = any("itl" in objectives for objectives in trial.workload.all_objectives)
    reasoned = batch.valid("reasoning_tokens")
    part, turn = _parts(trial, batch), batch.floats("turn")
    groups = np.where(np.isnan(turn), part, turn).astype(np.int64)
    return Part(
        arrays={
            "ttft_ms": ranked(first - sent, counted, completed),
            "scheduled_ttft_ms": ranked(first - scheduled, counted, completed),
            "tpot_ms": ranked(tpot, counted & (completed | ~(asked <= 1)), completed),
            "character_ms": ranked(per_character, counted & (completed | ~(asked <= 1)), completed),
            "e2e_ms": ranked(last - sent, counted, completed),
            "lag_ms": sent - scheduled,
            "sent_ms": sent,
            "end_ms": end,
            "asked_tokens": asked,
            "prompt_tokens": prompt,
            "output_tokens": output,
            "output_characters": characters,
            "streamed_tokens": arrivals.streamed,
            "first_answer_ms": ranked(_since(batch, "first_answer_ns", start) - sent, counted & reasoned, completed),
            "reasoning_tokens": batch.floats("reasoning_tokens"),
            "hidden_reasoning_tokens": batch.floats("hidden_reasoning_tokens"),
            "cached_tokens": batch.floats("cached_tokens"),
            "turn": turn,
            "in_flight_ms": overlap_ms(sent, end, inside.window_ms),
            "answering_ms": overlap_ms(headers, last, inside.window_ms),
            "prefill_share": _share_inside(sent, first, inside.window_ms),
            "arrived_tokens": arrived.astype(np.float64),
            "itl_p99_ms": arrivals.itl_p99_ms() if wants_gaps else np.full(len(sent), np.nan),
            "part": part,
        },
        ended=finished,
        begun=completed & inside(sent),
        completed=completed,
        itl_ms=arrivals.itl_ms(counted & completed & known, groups),
        failed_itl_ms=arrivals.itl_ms(counted & ~completed & known, groups),
        counts={
            "chunks": arrivals.chunks,
            "output_tokens": int(arrived.sum()),
            "prompt_tokens": int(np.nansum(prompt[inside(first)])),
            "no_reason": int((completed & ~batch.valid("finish_reason")).sum()),
            "offered": int(inside(sent).sum()),
            "tpot": int((counted & completed & several).sum()),
            "tpot_unknown": int((counted & completed & several & ~known).sum()),
        },
        generation_tokens=generations.tokens(arrivals),
        tokens_by_second=_by_second(arrivals, start - trial.first_sent_ns),
        window_characters=float(np.rint((arrived * per_token)[arrived > 0]).sum()),
        counted_by={word for word in batch.words("counted_by") if word},
        first_error=next((word for word in batch.words("error") if word is not None), None),
    )


def _parts(trial: Trial, batch: Batch) -> FloatArray:
    """[requests] Which part of a mix each request is of; 0 of another load."""
    if not trial.workload.part_names:
        return np.zeros(len(batch))
    return np.array(
        [trial.workload.part_number(trial.seed, index) for index in batch.numbers("index", 0).tolist()], float
    )


def _by_second(arrivals: Arrivals, shift_ns: int) -> dict[int, int]:
    seconds, places = np.unique(
        (np.rint(arrivals.at_ms * 1e6).astype(np.int64) + shift_ns) // 10**9, return_inverse=True
    )
    tokens = np.bincount(places, weights=arrivals.tokens, minlength=len(seconds))
    return {int(second): int(count) for second, count in zip(seconds, tokens, strict=True)}


def _since(batch: Batch, name: str, start_ns: int) -> FloatArray:
    """Milliseconds after `start_ns`; NaN where there is none. The subtraction is done on integers: a float would lose digits."""
    return np.where(batch.valid(name), (batch.numbers(name, 0) - start_ns) / 1e6, np.nan)


@dataclass(frozen=True)
class _Inside:
    """Which moments, ms after the window's start, are within it. NaN is outside."""

    window_ms: float
    rules: WindowRules

    def __call__(self, ms: FloatArray) -> npt.NDArray[np.bool_]:
        begun = ms >= 0 if self.rules == 1 else ms > 0
        return begun & (ms <= self.window_ms)


def overlap_ms(start: FloatArray, end: FloatArray, window_ms: float) -> FloatArray:
    """[n] milliseconds of the window between two moments of each request; 0 where one of them did not happen."""
    inside: FloatArray = np.nan_to_num(np.maximum(np.clip(end, 0, window_ms) - np.clip(start, 0, window_ms), 0))
    return inside


def _share_inside(sent: FloatArray, first: FloatArray, window_ms: float) -> FloatArray:
    """[n] the share of the time up to the first token that lies in the window; 0 without a first token."""
    with np.errstate(invalid="ignore"):
        lasted = np.maximum(first - sent, 1e-6)
    share: FloatArray = overlap_ms(sent, sent + lasted, window_ms) / np.nan_to_num(lasted, nan=1.0)
    return share
