"""Checks of one request that the real engines share, made before it can fail in a batch. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence

from server.engines.base import BadRequestError, EngineInfo, SamplingOptions

MAX_LOGPROBS = 20  # vLLM's default limit, kept so that the engines refuse the same requests


def check_prompt(prompt: Sequence[int], max_tokens: int, info: EngineInfo) -> None:
    """Raise BadRequestError for an empty prompt, a token outside the vocabulary, or more tokens than the context holds."""
    if not prompt:
        raise BadRequestError("the prompt is empty")
    if len(prompt) + max_tokens > info.max_model_len:
        raise BadRequestError(
            f"the prompt's {len(prompt)} tokens and {max_tokens} more do not fit the context of {info.max_model_len}"
        )
    if min(prompt) < 0 or max(prompt) >= info.vocabulary:
        raise BadRequestError(f"the prompt has token ids outside the vocabulary, 0 to {info.vocabulary - 1}")


def check_logprobs(count: int) -> None:
    """Raise BadRequestError for more log-probabilities a token than the limit."""
    if not 0 <= count <= MAX_LOGPROBS:
        raise BadRequestError(f"logprobs must be between 0 and {MAX_LOGPROBS}")


def check_options(options: SamplingOptions, info: EngineInfo) -> None:
    """Raise BadRequestError for a value out of range, so that nothing fails in the middle of a batch."""
    check_logprobs(options.logprobs or 0)
    rules = {
        "max_tokens must be at least 1": options.max_tokens >= 1,
        "min_tokens must be between 0 and max_tokens": 0 <= options.min_tokens <= options.max_tokens,
        "temperature must be 0 or more": 0 <= options.temperature < math.inf,
        "top_p must be above 0 and at most 1": 0 < options.top_p <= 1,
        "top_k must be 0 (off) or more": options.top_k >= -1,  # vLLM also takes -1 for off
        "min_p must be between 0 and 1": 0 <= options.min_p <= 1,
        "repetition_penalty must be above 0": 0 < options.repetition_penalty < math.inf,
        "presence_penalty must be between -2 and 2": -2 <= options.presence_penalty <= 2,
        "frequency_penalty must be between -2 and 2": -2 <= options.frequency_penalty <= 2,
        "seed must fit 64 bits": options.seed is None or -(2**63) <= options.seed < 2**63,
        "stop_token_ids must be in the vocabulary": all(0 <= end < info.vocabulary for end in options.stop_token_ids),
    }
    for message, holds in rules.items():
        if not holds:
            raise BadRequestError(message)
