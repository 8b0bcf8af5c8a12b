"""The chunks of many requests, flattened from the lists that their records hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadgen.metrics.latencies import BoolArray, FloatArray, one_token_chunks, tokens_after_first
from loadgen.records.batch import Batch

_MOST = 2**16  # entries of one gap: beyond any real chunk, and what a server claims takes no more memory


@dataclass(frozen=True)
class Arrivals:
    """What arrived of a batch of requests: chunks that came at one moment, such as those of one read, are one arrival.

    From `at_ms` on, one entry an arrival; `gap_tokens`: those that the time since the one before was for.
    """

    streamed: FloatArray  # the cumulative count at the last chunk
    after_first: FloatArray  # tokens after the first arrival; NaN: unknown
    chunks: int
    lengths: npt.NDArray[np.int64]  # arrivals of each request
    at_ms: FloatArray
    tokens: npt.NDArray[np.int64]
    gaps_ms: FloatArray
    gap_tokens: npt.NDArray[np.int64]
    is_first: BoolArray

    def of_requests(self, tokens: npt.NDArray[np.int64]) -> FloatArray:
        """[requests] Sums of [arrivals]."""
        requests = len(self.lengths)
        sums: FloatArray = np.bincount(np.repeat(np.arange(requests), self.lengths), tokens, requests).astype(float)
        return sums

    def itl_ms(self, requests: BoolArray, groups: npt.NDArray[np.int64]) -> dict[int, npt.NDArray[np.float32]]:
        """One entry a token after the first arrival of these requests; of a chunk that claims more than `_MOST`, as many.

        `groups` has the number of each request's group, by which the entries are apart.
        """
        used = np.repeat(requests, self.lengths) & ~self.is_first & (self.gap_tokens > 0)
        tokens = np.minimum(self.gap_tokens[used], _MOST)
        each_ms, numbers = (self.gaps_ms[used] / tokens).astype(np.float32), np.unique(groups[requests]).tolist()
        if len(numbers) == 1:
            return {numbers[0]: np.repeat(each_ms, tokens)}
        own = np.repeat(groups, self.lengths)[used]
        return {number: np.repeat(each_ms[own == number], tokens[own == number]) for number in numbers}

    def itl_p99_ms(self) -> FloatArray:
        """[requests] The 99th percentile of each one's gaps, by the nearest rank, each token one gap; NaN without any."""
        used = ~self.is_first & (self.gap_tokens > 0)
        request, tokens = np.repeat(np.arange(len(self.lengths)), self.lengths)[used], self.gap_tokens[used]
        each_ms = self.gaps_ms[used] / tokens
        order = np.lexsort((each_ms, request))
        request, tokens, each_ms = request[order], tokens[order], each_ms[order]
        totals = np.bincount(request, tokens, len(self.lengths))
        below = np.cumsum(totals) - totals  # tokens of the requests before
        high = np.cumsum(tokens) - below[request] >= 0.99 * totals[request]
        reached, first = np.unique(request[high], return_index=True)
        found = np.full(len(self.lengths), np.nan)
        found[reached] = each_ms[high][first]
        return found


def read_arrivals(batch: Batch, start_ns: int) -> Arrivals:
    """The list columns, flattened: [chunks] times and cumulative tokens, cut into requests by their lengths."""
    at_ns, chunks = batch.lists("arrival_ns")
    cumulative = batch.lists("arrival_tokens").values.astype(np.int64)
    request = np.repeat(np.arange(len(chunks)), chunks)
    ordinal = np.arange(1, len(at_ns) + 1) - np.repeat(np.cumsum(chunks) - chunks, chunks)  # of a chunk in its request
    tokens_of_chunks = _steps(cumulative, ordinal == 1)
    last_of_moment = np.append((np.diff(at_ns) != 0) | (np.diff(request) != 0), True)[: len(at_ns)]
    at_ns, cumulative, request, ordinal = (a[last_of_moment] for a in (at_ns, cumulative, request, ordinal))
    lengths = np.bincount(request, minlength=len(chunks))
    is_first = np.append(True, np.diff(request) != 0)[: len(at_ns)]
    first, firsts, streamed = np.full((3, len(chunks)), np.nan)
    some = lengths > 0
    first[some], firsts[some] = cumulative[is_first], ordinal[is_first]
    streamed[some] = cumulative[np.cumsum(lengths)[some] - 1]
    single = one_token_chunks(batch, chunks)
    tokens, at_ms = _steps(cumulative, is_first), (at_ns - start_ns) / 1e6
    return Arrivals(
        streamed=streamed,
        after_first=tokens_after_first(batch, np.where(single, chunks - firsts, np.nan), streamed - first),
        chunks=int((tokens_of_chunks > 0).sum()),
        lengths=lengths,
        at_ms=at_ms,
        tokens=tokens,
        gaps_ms=np.diff(at_ms, prepend=0.0),
        gap_tokens=np.where(single[request], _steps(ordinal, is_first), tokens),
        is_first=is_first,
    )


def tokens_between(batches: Iterable[Batch], start_ns: int, end_ns: int) -> int:
    """Output tokens that arrived after the start, up to the end."""
    total = 0
    for batch in batches:
        arrivals = read_arrivals(batch, start_ns)
        inside = (arrivals.at_ms > 0) & (arrivals.at_ms <= (end_ns - start_ns) / 1e6)
        total += int(arrivals.tokens[inside].sum())
    return total


def _steps(cumulative: npt.NDArray[np.int64], is_first: BoolArray) -> npt.NDArray[np.int64]:
    """What each entry adds to the one before it of the same request."""
    steps = np.diff(cumulative, prepend=0)
    steps[is_first] = cumulative[is_first]
    return steps
