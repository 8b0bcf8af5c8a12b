"""Validity of one trial: whether its tokens were counted, and all of them computed."""

from __future__ import annotations

import numpy as np

from loadgen.metrics.metrics import TrialMetrics
from loadgen.records.schema import Trial
from reports.checks.rules import Finding, graded, trial_rule, worst


@trial_rule(
    position=180,
    meaning="Two counts of the output tokens differ: the server's usage, the tokens streamed, the server's own counter.",
    limits="Usage against stream: warns if a request differs, fails above 1 % of requests; only where chunks carry their own counts, else the stream is made to agree. Server's counter against the records: warns if they differ, fails above 1 %; only if all requests completed.",
    remedy="Find out which is right before using anything per token.",
)
def tokens_disagree(trial: Trial, metrics: TrialMetrics) -> Finding:
    """Every second count of the output tokens that there is."""
    counts = [count for count in (_usage_and_stream(metrics), _server_and_records(trial, metrics)) if count is not None]
    if not counts:
        return Finding("no data", "there is no second count of the tokens")
    gravest = worst([count.outcome for count in counts])
    return Finding(gravest, "; ".join(count.reason for count in counts if count.outcome == gravest))


def _usage_and_stream(metrics: TrialMetrics) -> Finding | None:
    """Chunks without counts of their own are made to add up to the total when they are recorded: no second count."""
    if metrics.counted_by != {"server-continuous-usage"}:
        return None
    counted, streamed = metrics.output_tokens, metrics.streamed_tokens
    both = metrics.completed & np.isfinite(counted) & np.isfinite(streamed)
    if not both.any():
        return None
    requests, unlike = int(both.sum()), int((counted[both] != streamed[both]).sum())
    if not unlike:
        return Finding("pass", f"usage and stream agree on {counted[both].sum():,.0f} tokens")
    words = f"in {unlike:,} of {requests:,} requests the tokens streamed are not those of the server's usage"
    return Finding(graded(unlike / requests, 0.0, 0.01), words)


def _server_and_records(trial: Trial, metrics: TrialMetrics) -> Finding | None:
    """A failed request goes on in the server unseen for a while, and so do those in flight when a load was interrupted: only
    completed trials are held against its counter.
    """
    server, total = trial.server_generated_tokens, float(metrics.output_tokens.sum())
    if server is None or trial.interrupted or not metrics.completed.all() or not total > 0:
        return None
    off = server / total - 1
    if not off:
        return Finding("pass", f"the server's counter and the records agree on {total:,.0f} tokens")
    words = f"the server's counter has {server:,} tokens, the records {total:,.0f} ({off:+.1%})"
    return Finding(graded(abs(off), 0.0, 0.01), words)


@trial_rule(
    position=190,
    meaning="The server sends several tokens in one chunk, or chunks had to be counted as tokens. Without a running usage the tokens of the first chunk are unknown then, and there is no TPOT and no ITL.",
    limits="Warns above 1.05 tokens a chunk on average, if chunks were counted as tokens, or if the first chunk is unknown in over 1 % of requests.",
    remedy="Read TPOT, not gaps between chunks; offer usage in every chunk (stream_options.continuous_usage_stats) so that tokens can be counted.",
    spoils=None,
)
def multi_token_chunks(_trial: Trial, metrics: TrialMetrics) -> Finding:
    """Tokens a chunk on average, and how they were counted."""
    if not metrics.chunks:
        return Finding("no data", "no chunk arrived")
    if metrics.tpot_reason is not None:
        return Finding("warn", f"no TPOT and no ITL: {metrics.tpot_reason}")
    if "chunks" in metrics.counted_by:
        return Finding("warn", "the server sends no usage: each chunk was taken for one token")
    per_chunk = float(np.nansum(metrics.streamed_tokens)) / metrics.chunks
    return Finding(graded(per_chunk, 1.05, float("inf")), f"{per_chunk:.2f} tokens a chunk")


@trial_rule(
    position=200,
    meaning="Prompt tokens came from the server's prefix cache, so their prefill was not measured.",
    limits="Warns at the first token from the cache, fails above 5 % of the prompt tokens.",
    remedy="Switch prefix caching off, or restart the server between trials.",
)
def prefix_cache_hits(trial: Trial, metrics: TrialMetrics) -> Finding:
    """Cached prompt tokens, as a share of all."""
    hits, prompts = trial.server_prefix_hit_tokens, float(np.nansum(metrics.prompt_tokens))
    if hits is None:
        return Finding("no data", "the server does not say what its prefix cache gave")
    if not hits:
        return Finding("pass", "no prompt token came from a prefix cache")
    if not prompts:
        return Finding("warn", f"{hits:,} prompt tokens came from the prefix cache, of an unknown number")
    share = hits / prompts
    return Finding(graded(share, 0.0, 0.05), f"{hits:,} prompt tokens ({share:.0%}) came from the prefix cache")
