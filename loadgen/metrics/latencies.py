"""What the latency of a failed request is, and how many tokens came after a request's first chunk.

A failed request is slower than any: its latencies are +inf, so that it stands at the top of every ranking. A server that drops
its slowest answers would else look faster than one that finishes them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from loadgen.records.batch import Batch, Words
from loadgen.records.schema import RequestRecord

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def ranked(values: FloatArray, counted: BoolArray, completed: BoolArray) -> FloatArray:
    """`values` of the requests that count: +inf where one failed, NaN where it does not count."""
    found: FloatArray = np.where(counted, np.where(completed, values, np.inf), np.nan)
    return found


def percentiles(values: npt.NDArray[np.floating[Any]], wanted: Iterable[float]) -> dict[float, float]:
    """Percentile -> value, by linear interpolation between order statistics; +inf where that takes a failed request.

    NaNs are left out; without data, empty.
    """
    wanted = list(wanted)
    there = values[~np.isnan(values)]
    if there.size == 0:
        return {}
    finite = int(np.isfinite(there).sum())
    # numpy would make NaN of 0 x inf; what is read below `finite` is the same with any number at the top.
    there[np.isinf(there)] = there[np.isfinite(there)].max(initial=0.0)
    found = np.percentile(there, wanted, overwrite_input=True)
    highest = [np.ceil(p / 100 * (there.size - 1)) for p in wanted]
    return {p: float(v) if h < finite else np.inf for p, v, h in zip(wanted, found, highest, strict=True)}


def one_token_chunks(batch: Batch, chunks: npt.NDArray[np.int64]) -> BoolArray:
    """Of which requests every chunk is known to hold one token.

    Of as many chunks as tokens, each holds one; reasoning that was not streamed has none, and where the model stopped by itself,
    the token that ends the text is counted and has no chunk. Without a usage, the tokens are known if the server stopped at the
    length that was asked for.
    """
    by, finish = batch.words("counted_by"), batch.words("finish_reason")
    total = batch.numbers("output_tokens")
    shown = total - batch.numbers("hidden_reasoning_tokens", 0)
    asked = np.where(_is(finish, "length"), batch.numbers("asked_tokens"), -1)
    ended = _is(by, "server-usage") & _is(finish, "stop") & ((chunks + 1 == total) | (chunks + 1 == shown))
    counted = _is(by, "server-usage") | _is(by, "tokenizer")
    known: BoolArray = (
        (counted & ((chunks == total) | (chunks == shown))) | (_is(by, "chunks") & (chunks == asked)) | ended
    )
    return known


def tokens_after_first(batch: Batch, single: FloatArray, running: FloatArray) -> FloatArray:
    """Tokens after the first chunk, which is what TPOT divides by. NaN: the count of the first chunk is unknown.

    `single`: of requests whose chunks hold one token each (else NaN); `running`: by the running count, which a server's running
    usage makes exact.
    """
    by_usage = np.where(_is(batch.words("counted_by"), "server-continuous-usage"), running, np.nan)
    return np.where(np.isnan(single), by_usage, single)


def record_ttft_ms(record: RequestRecord) -> float | None:
    """One completed request's time to first token, as a live view has it."""
    sent, first = record.sent_ns, record.first_token_ns
    return None if record.error is not None or sent is None or first is None else (first - sent) / 1e6


def record_tpot_ms(record: RequestRecord) -> float | None:
    """One completed request's time per token as a live view has it; None: it has none, or its first chunk is unknown."""
    first, last, tokens = record.first_token_ns, record.last_token_ns, record.arrival_tokens
    if record.error is not None or first is None or last is None or last <= first:
        return None
    shown = len(tokens) + (record.hidden_reasoning_tokens or 0)
    if record.counted_by != "server-continuous-usage" and shown != record.output_tokens:
        return None
    at_first = tokens[bisect_right(record.arrival_ns, first) - 1]
    return (last - first) / 1e6 / (tokens[-1] - at_first)


def _is(words: Words, word: str) -> BoolArray:
    found: BoolArray = (words == word).astype(bool)
    return found
