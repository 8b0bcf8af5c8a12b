"""The figures of one trial; `loadgen.metrics.measuring` computes them from its request records.

Definitions are docs/explanation/measurement.md's. Requests and their latencies are those of requests that ended inside the window, a
failed one being slower than any; tokens are credited by their own arrival inside it, also those of failed requests, since
the server spent time and energy on them. The window's start is outside it and its end inside, so that windows side by side
share out everything once. Under window rules 1, by which earlier runs were recorded, latencies are those of requests sent
inside, and both edges are.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from loadgen.metrics.backlog import Backlog
from loadgen.metrics.equal_shares import TokenCosts, equal_shares
from loadgen.metrics.latencies import BoolArray, FloatArray

QUANTILES = (5, 25, 50, 75, 95, 99)


@dataclass(frozen=True)
class GapFigures:
    """The gaps before tokens, every token counting once: `percentiles` (`QUANTILES`), mean and deviation, ms; None without any."""

    percentiles: dict[int, float]
    mean: float | None
    std: float | None


NO_GAPS = GapFigures({}, None, None)


@dataclass(frozen=True)
class TrialMetrics:
    """Figures of one trial. Arrays have one entry a request, in file order; NaN: it did not happen, or does not count.

    Latencies of a failed request are +inf (`loadgen.metrics.latencies`). A time per token needs two chunks, and the tokens of the first.

    `ttft_ms` counts from sending, `scheduled_ttft_ms` from the scheduled time; `e2e_ms` from sending to the last token.
    `lag_ms` is sent - scheduled. `itl_ms` maps percentiles (`QUANTILES`) to the gap before a token, every token counting
    once: a chunk of k tokens that took g is k tokens of g/k. It has the gaps of every token that came, those of failed requests
    too: a token that never came has no gap, and no rank. `completed_itl` and `group_itl` are of completed requests.
    """

    window_s: float
    objectives: list[dict[str, float]]  # of each part of a mix, by number; of another load one
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
    hidden_reasoning_tokens: FloatArray  # of those, that the server counted and did not stream
    cached_tokens: FloatArray  # of the prompt
    turn: FloatArray  # of its session, from 0
    in_flight_ms: FloatArray  # of the window; 0 for a request outside of it
    answering_ms: FloatArray  # of those, from the headers to the last token
    prefill_share: FloatArray  # of the time up to its first token, the share in the window
    arrived_tokens: FloatArray  # output tokens that arrived in the window
    part: FloatArray  # of a mix, its number; 0 of another load
    itl_p99_ms: FloatArray  # of each request's own gaps; NaN where no objective asks for it
    itl_ms: dict[int, float]
    completed_itl: GapFigures
    group_itl: dict[int, GapFigures]  # of each turn of sessions or part of a mix, by number; empty for another load
    ended: BoolArray  # completed, ended in the window
    begun: BoolArray  # completed, sent in the window
    chunks: int
    window_output_tokens: int
    window_output_characters: float | None  # None: not recorded of every answer
    window_prompt_tokens: int  # of requests whose first token arrived in the window
    offered_requests: int  # sent in the window, failed ones included
    trend: Backlog | None  # of an open loop, from when it was filled to the last sending; None: another load
    trend_counts: bool  # whether the window is of that part of the load
    busiest_second_tokens: int | None  # output tokens in the fullest second, counted from the first sending
    counted_by: frozenset[str]
    first_error: str | None
    no_reason: int  # completed requests without a finish_reason, whose stream ended with [DONE] alone
    generation_ms: FloatArray  # per token, of each generation of a closed loop's window, at most 100; else empty
    tpot_reason: (
        str | None
    )  # why there is no time per token and no gap at all: unknown in more than `measure.UNKNOWN_SHARE`
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
    def window_requests(self) -> int:
        """How many completed and ended in the window."""
        return int(self.ended.sum())

    @property
    def credited(self) -> BoolArray:
        """The requests behind requests/s and J/request: completed ones that ended in the window; where an open loop's server
        kept up, those that were sent in it, as many in the long run and not shifted by how long they took.
        """
        return self.ended if self.backlog is None or self.saturated else self.begun

    @property
    def credited_requests(self) -> int:
        """How many those are."""
        return int(self.credited.sum())

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

    @property
    def first_reasoning_ms(self) -> FloatArray:
        """From sending to the first chunk, of requests whose reasoning was streamed: an answer apart comes after its reasoning."""
        streamed = np.isfinite(self.reasoning_tokens) & np.isnan(self.hidden_reasoning_tokens)
        first: FloatArray = np.where(streamed, self.ttft_ms, np.nan)
        return first

    @property
    def hidden_reasoning(self) -> str | None:
        """Why some requests that reasoned have no time to their first reasoning token; None if all have one."""
        hidden = int(np.isfinite(self.hidden_reasoning_tokens).sum())
        reasoned = int((self.reasoning_tokens > 0).sum())
        said = f"the server does not stream the reasoning of {hidden:,} of {reasoned:,} requests that reasoned"
        return said if hidden else None

    @property
    def reasoning_share(self) -> float | None:
        """Of all output tokens, those of reasoning apart from the answer; None without any."""
        reasoning = self.reasoning_tokens
        return float(np.nansum(reasoning) / np.nansum(self.output_tokens)) if np.isfinite(reasoning).any() else None

    @functools.cached_property
    def good(self) -> BoolArray | None:
        """Which requests of the window met every objective; None without objectives, or where the time per token is unknown.

        A failed request meets none. One token has no time per token, and so keeps to any.
        """
        limits = [(part, *each) for part, of in enumerate(self.objectives) for each in of.items()]
        if self.tpot_reason is not None and {"tpot", "itl"} & {name for _, name, _ in limits}:
            return None
        times = {"ttft": self.ttft_ms, "tpot": self.tpot_ms, "itl": self.itl_p99_ms, "e2e": self.e2e_ms}
        broken = [(self.part == part) & (times[name] > limit) for part, name, limit in limits]
        return np.isfinite(self.ttft_ms) & ~np.logical_or.reduce(broken) if broken else None

    @property
    def good_per_s(self) -> float | None:
        """The goodput: requests per second of the window that met every objective; None as in `good`."""
        return None if self.good is None else float(self.good.sum()) / self.window_s

    def good_share(self, chosen: BoolArray | None = None) -> float | None:
        """The share of the requests, or of those chosen, that met every objective: of the window's, and of those that failed
        after it. The window ends with the last sending, and a server that has died refuses what would be sent.
        """
        if self.good is None:
            return None
        failed_later = ~self.completed & (self.end_ms > self.window_s * 1e3)
        judged = (~np.isnan(self.e2e_ms) | failed_later) & (True if chosen is None else chosen)
        return float((self.good & judged).sum() / judged.sum()) if judged.any() else None
