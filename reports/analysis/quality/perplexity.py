"""What a held-out text says of a configuration against the baseline: perplexity, bits per byte and next tokens, by windows."""

from __future__ import annotations

import numpy as np

from reports.analysis.records import ConfigurationFigures
from reports.runs.records.configuration import ConfigurationInfo
from reports.runs.records.quality import Quality
from reports.statistics.ratios import Comparison, mean_interval
from reports.statistics.retention import Kept, kept_likelihood, kept_mean


def configuration_figures(info: ConfigurationInfo, baseline: Quality | None) -> ConfigurationFigures:
    """A configuration's figures beside the load, compared with the baseline's perplexity."""
    found, next_tokens = compare_perplexity(info, baseline), info.next_tokens
    if next_tokens is None:
        return found
    return found.model_copy(
        update={
            "kl_nats": mean_interval(next_tokens.kl_nats) if next_tokens.kl_nats else None,
            "top1_agreement": mean_interval(next_tokens.agreement) if next_tokens.agreement else None,
            "next_tokens_reason": next_tokens.reason,
        }
    )


def compare_perplexity(info: ConfigurationInfo, baseline: Quality | None) -> ConfigurationFigures:
    """A configuration's ratios, or why there are none.

    The ratio of perplexities is of the same text, per token of the baseline: exp((own nats - its nats) / its tokens). With one
    tokenizer that is perplexity over perplexity.
    """
    own = info.quality
    reason = _why_not(own, baseline)
    if reason is not None or own is None or baseline is None or own.perplexity is None or baseline.perplexity is None:
        return ConfigurationFigures(info=info, perplexity_reason=reason)
    if not own.window_nats or len(own.window_nats) != len(baseline.window_nats):
        return ConfigurationFigures(info=info, perplexity_ratio=own.perplexity / baseline.perplexity)
    nats, of_baseline = np.array(own.window_nats), np.array(baseline.window_nats)
    gained = kept_likelihood(nats, of_baseline, np.array(baseline.window_tokens, float))
    bits = kept_mean(nats, of_baseline)
    return ConfigurationFigures(
        info=info,
        perplexity_ratio=gained.share,
        perplexity=_comparison(gained),
        bits_per_byte=_comparison(bits) if isinstance(bits, Kept) else None,
    )


def _why_not(own: Quality | None, baseline: Quality | None) -> str | None:
    if own is None or own.perplexity is None:
        return (own and own.reason) or "quality was not measured"
    if baseline is None or baseline.perplexity is None:
        return "the baseline has no perplexity"
    if own.tokens_sha256 == baseline.tokens_sha256:
        return None
    if own.windows_sha256 is None or own.windows_sha256 != baseline.windows_sha256:
        return "other tokens than the baseline's were scored, so that a perplexity per token does not compare"
    return None


def _comparison(found: Kept) -> Comparison:
    low, high = found.interval() or (None, None)
    return Comparison(ratio=found.share, low=low, high=high)
