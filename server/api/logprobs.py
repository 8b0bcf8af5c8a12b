"""Log-probabilities as OpenAI shapes them: parallel lists for completions, a list of objects for chat."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from server.engines.base import TokenLogprob
from server.text.tokenizer import Tokenizer

_LEAST = -9999.0  # JSON has no -Infinity; vLLM writes the same


def completion_logprobs(
    tokenizer: Tokenizer, token_ids: Sequence[int], logprobs: Sequence[TokenLogprob | None], offsets: list[int]
) -> dict[str, Any]:
    """`logprobs` of a completion choice; None (the first prompt token) becomes null.

    Every `top_logprobs` entry holds the token itself, also when it is not among the most likely.
    """
    return {
        "tokens": [tokenizer.token_text(token_id) for token_id in token_ids],
        "token_logprobs": [None if entry is None else _finite(entry.logprob) for entry in logprobs],
        "top_logprobs": [None if entry is None else _by_text(tokenizer, entry) for entry in logprobs],
        "text_offset": offsets,
    }


def chat_logprobs(tokenizer: Tokenizer, logprobs: Iterable[TokenLogprob], top: int) -> dict[str, Any]:
    """`logprobs` of a chat choice, with the `top` most likely alternatives each."""
    content = []
    for entry in logprobs:
        likeliest = sorted(entry.top.items(), key=lambda item: -item[1])[:top]
        alternatives = [_token(tokenizer, token_id, logprob) for token_id, logprob in likeliest]
        content.append({**_token(tokenizer, entry.token_id, entry.logprob), "top_logprobs": alternatives})
    return {"content": content}


def _by_text(tokenizer: Tokenizer, entry: TokenLogprob) -> dict[str, float]:
    """Two tokens with one text share a key; the likelier keeps it, so that the largest value is the largest."""
    found: dict[str, float] = {}
    for token_id, logprob in {**entry.top, entry.token_id: entry.logprob}.items():
        text = tokenizer.token_text(token_id)
        found[text] = max(found.get(text, _LEAST), _finite(logprob))
    return found


def _token(tokenizer: Tokenizer, token_id: int, logprob: float) -> dict[str, Any]:
    return {
        "token": tokenizer.token_text(token_id),
        "logprob": _finite(logprob),
        "bytes": list(tokenizer.token_bytes(token_id)),
    }


def _finite(logprob: float) -> float:
    return max(_LEAST, logprob)  # in this order NaN becomes the least too
