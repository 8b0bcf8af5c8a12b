"""The chunks of many requests, flattened from the lists that their records hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from loadgen.latencies import BoolArray, FloatArray, one_token_chunks, tokens_after_first


@dataclass(frozen=True)
class Arrivals:
    """Chunks of a batch of requests; from `at_ms` on, one entry a chunk. `gap_tokens`: those that its gap was for."""

    streamed: FloatArray  # the cumulative count at the last chunk
    after_first: FloatArray  # tokens after the first chunk; NaN: unknown
    chunks: int
    lengths: npt.NDArray[np.int64]  # chunks of each request
    at_ms: FloatArray
    tokens: npt.NDArray[np.int64]
    gaps_ms: FloatArray
    gap_tokens: npt.NDArray[np.int64]
    is_first: BoolArray

    def itl_ms(self, requests: BoolArray) -> npt.NDArray[np.float32]:
        """One entry a token after the first chunk of these requests."""
        used = np.repeat(requests, self.lengths) & ~self.is_first & (self.gap_tokens > 0)
        tokens = self.gap_tokens[used]
        return np.repeat((self.gaps_ms[used] / tokens).astype(np.float32), tokens)


def read_arrivals(batch: Any, start_ns: int) -> Arrivals:
    """The list columns, flattened: [chunks] times and cumulative tokens, cut into requests by their lengths."""
    lists = batch.column("arrival_ns")
    lengths = np.asarray(lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)
    at_ms = (lists.flatten().to_numpy(zero_copy_only=False) - start_ns) / 1e6
    cumulative = batch.column("arrival_tokens").flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    ends = np.cumsum(lengths)
    some = lengths > 0
    firsts = (ends - lengths)[some]
    is_first = np.zeros(len(at_ms), dtype=bool)
    is_first[firsts] = True
    tokens = np.diff(cumulative, prepend=0)
    tokens[firsts] = cumulative[firsts]
    first, streamed = np.full((2, len(lengths)), np.nan)
    first[some], streamed[some] = cumulative[firsts], cumulative[ends[some] - 1]
    single = np.repeat(one_token_chunks(batch, lengths), lengths)
    return Arrivals(
        streamed=streamed,
        after_first=tokens_after_first(batch, lengths, first, streamed),
        chunks=int((tokens > 0).sum()),
        lengths=lengths,
        at_ms=at_ms,
        tokens=tokens,
        gaps_ms=np.diff(at_ms, prepend=0.0),
        gap_tokens=np.where(single, 1, tokens),
        is_first=is_first,
    )
