"""Held-out perplexity and bits per byte against the baseline's, paired by windows of text."""

from __future__ import annotations

import numpy as np

from reports.analysis.records import ConfigurationFigures
from reports.runs.records import ConfigurationInfo, Quality
from reports.statistics.ratios import Comparison
from reports.statistics.retention import Kept, kept_likelihood, kept_mean


def compare_perplexity(info: ConfigurationInfo, baseline: Quality | None) -> ConfigurationFigures:
    """A configuration's ratios, or why there are none.

    The ratio of perplexities is of the same text, per token of the baseline: exp((own nats - its nats) / its tokens). With one
    tokenizer that is perplexity over perplexity.
    """
    own = info.quality
    reason = _why_not(own, baseline)
    if reason is not None or own is None or baseline is None or own.perplexity is None or baseline.perplexity is None:
        return ConfigurationFigures(info=info, perplexity_ratio=None, perplexity_reason=reason)
    if not own.window_nats or len(own.window_nats) != len(baseline.window_nats):
        ratio = own.perplexity / baseline.perplexity
        return ConfigurationFigures(info=info, perplexity_ratio=ratio, perplexity_reason=None)
    nats, of_baseline = np.array(own.window_nats), np.array(baseline.window_nats)
    gained = kept_likelihood(nats, of_baseline, np.array(baseline.window_tokens, float))
    bits = kept_mean(nats, of_baseline)
    return ConfigurationFigures(
        info=info,
        perplexity_ratio=gained.share,
        perplexity_reason=None,
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
