"""Validity of one trial: whether its token counts agree, and whether every token was computed."""

from __future__ import annotations

import numpy as np

from base.figures import percent
from loadgen.metrics.metrics import TrialMetrics
from loadgen.records.schema import Trial
from reports.checks.rules import Finding, graded, trial_rule, worst


@trial_rule(position=180)
def tokens_disagree(trial: Trial, metrics: TrialMetrics) -> Finding:
    """Two counts of the output tokens differ. The counts are the server's usage, the streamed tokens and the server's
    counter.

    Limits: Usage against stream: warns if a request differs, fails above 1 % of requests; only where chunks carry their
    own counts, since the stream is otherwise scaled to the usage. Server's counter against the records: warns if they
    differ, fails above 1 %; only if all requests completed.

    Remedy: Find out which count is right before using any figure per token.
    """
    counts = [count for count in (_usage_and_stream(metrics), _server_and_records(trial, metrics)) if count is not None]
    if not counts:
        return Finding("no data", "there is no second count of the tokens")
    most_severe = worst([count.outcome for count in counts])
    return Finding(most_severe, "; ".join(count.reason for count in counts if count.outcome == most_severe))


def _usage_and_stream(metrics: TrialMetrics) -> Finding | None:
    """Only where chunks carry their own counts; otherwise the recorder scales chunk counts to the total."""
    if metrics.counted_by != {"server-continuous-usage"}:
        return None
    counted, streamed = metrics.output_tokens, metrics.streamed_tokens
    both = metrics.completed & np.isfinite(counted) & np.isfinite(streamed)
    if not both.any():
        return None
    requests, unlike = int(both.sum()), int((counted[both] != streamed[both]).sum())
    if not unlike:
        return Finding("pass", f"usage and stream agree on {counted[both].sum():,.0f} tokens")
    words = f"in {unlike:,} of {requests:,} requests the streamed tokens differ from the server's usage"
    return Finding(graded(unlike / requests, 0.0, 0.01), words)


def _server_and_records(trial: Trial, metrics: TrialMetrics) -> Finding | None:
    """Only for completed trials: the server keeps generating for a while after a request fails or a load is interrupted."""
    server, total = trial.server_generated_tokens, float(metrics.output_tokens.sum())
    if server is None or trial.interrupted or not metrics.completed.all() or not total > 0:
        return None
    off = server / total - 1
    if not off:
        return Finding("pass", f"the server's counter and the records agree on {total:,.0f} tokens")
    words = f"the server's counter has {server:,} tokens, the records {total:,.0f} ({percent(off, signed=True)})"
    return Finding(graded(abs(off), 0.0, 0.01), words)


@trial_rule(position=190, spoils=None)
def multi_token_chunks(_trial: Trial, metrics: TrialMetrics) -> Finding:
    """The server sends several tokens in one chunk, or chunks were counted as tokens. Without a running usage the
    tokens of the first chunk are then unknown, and there is no TPOT and no ITL.

    Limits: Warns above 1.05 tokens per chunk on average, if chunks were counted as tokens, or if the first chunk's
    tokens are unknown in more than 1 % of requests.

    Remedy: Use TPOT, not gaps between chunks. Enable usage in every chunk (stream_options.continuous_usage_stats), so
    that tokens can be counted.
    """
    if not metrics.chunks:
        return Finding("no data", "no chunk arrived")
    if metrics.tpot_reason is not None:
        return Finding("warn", f"no TPOT and no ITL: {metrics.tpot_reason}")
    if "chunks" in metrics.counted_by:
        return Finding("warn", "the server sends no usage: each chunk was counted as one token")
    per_chunk = float(np.nansum(metrics.streamed_tokens)) / metrics.chunks
    return Finding(graded(per_chunk, 1.05, float("inf")), f"{per_chunk:.2f} tokens per chunk")


@trial_rule(position=200)
def prefix_cache_hits(trial: Trial, metrics: TrialMetrics) -> Finding:
    """The server's prefix cache provided prompt tokens, so their prefill was not measured.

    Limits: Warns at the first token from the cache beyond those that the prompts share as asked, fails above 5 % of the
    prompt tokens. Prompts share their `shared_prefix`; of one in text, of a JSON trace, which can have hash ids, and of
    sessions, whose turns share what was said before, any number is as asked.

    Remedy: Disable prefix caching, or restart the server between trials.
    """
    hits, prompts = trial.server_prefix_hit_tokens, float(np.nansum(metrics.prompt_tokens))
    if hits is None:
        return Finding("no data", "the server does not report prefix cache hits")
    if not hits:
        return Finding("pass", "no prompt token came from a prefix cache")
    if not prompts:
        return Finding(
            "warn", f"{hits:,} prompt tokens came from the prefix cache; the number of prompt tokens is unknown"
        )
    share_of = np.array([one.shared_tokens for one in trial.workload.alone])[metrics.part.astype(int)]
    asked = float(np.nansum(np.minimum(metrics.prompt_tokens, share_of)))
    outcome = graded(max(hits - asked, 0.0) / prompts, 0.0, 0.05)
    came = f"{hits:,} prompt tokens ({percent(hits / prompts)}) came from the prefix cache"
    if not asked:
        return Finding(outcome, came)
    kept = (
        ", as the workload has them share" if outcome == "pass" else f", and prompts were to share {asked:,.0f} at most"
    )
    return Finding(outcome, came + kept)
