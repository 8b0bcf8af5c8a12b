"""Held-out perplexity of what is served, through its own endpoint: `echo` and `logprobs` of the OpenAI completions API."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from tokenizers import Tokenizer

from loadgen.endpoint import Endpoint
from prunebench.experiment.file import QualitySettings
from prunebench.experiment.texts import STDLIB_PREFIX, read_text
from prunebench.terminal.progress import Progress, unseen
from reports.runs.records import Quality

Encode = Callable[[Sequence[str]], Sequence[Sequence[int]]]  # texts to token ids, without special tokens


def checkpoint_tokens(checkpoint: Path) -> Encode:
    """Tokenizes by the `tokenizer.json` of a checkpoint."""
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    return lambda texts: [found.ids for found in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


class PerplexityProbe:
    """The same windows of held-out token ids, asked of every configuration.

    Windows are consecutive and do not overlap, `context_tokens` long, the budget of `max_tokens` shared equally between the
    files. Each starts cold: its first token is context only and is not scored.
    """

    def __init__(self, settings: QualitySettings, encode: Encode) -> None:
        texts = [read_text(name) for name in settings.perplexity_files]
        size, budget = settings.context_tokens, settings.max_tokens // len(texts)
        files = [ids[:budget] for ids in encode(texts)]
        self._windows = [w for ids in files for i in range(0, len(ids), size) if len(w := ids[i : i + size]) > 1]
        names = ", ".join(Path(name.removeprefix(STDLIB_PREFIX)).name for name in settings.perplexity_files)
        self._text = f"the first {budget:,} tokens each of {names}, in windows of {size}"
        self._sha256 = hashlib.sha256("\0".join(texts).encode()).hexdigest()
        self._tokens_sha256 = hashlib.sha256(repr(self._windows).encode()).hexdigest()

    def measure(self, endpoint: Endpoint, *, written: int = 0, progress: Progress = unseen) -> Quality:
        """exp(mean negative log-likelihood per scored token) of what the endpoint serves.

        `written`: tokens that a request must generate; vLLM's own server requires 1, ours none.

        The standard error takes windows as independent, by the delta method: perplexity x sd(window means) / sqrt(windows).
        An endpoint without prompt log-likelihoods gives None with the reason.
        """
        try:
            losses = _window_losses(endpoint, self._windows, written, progress)
        except (httpx.HTTPError, KeyError, TypeError, ValueError) as error:
            reason = f"the endpoint gave no prompt log-likelihoods: {type(error).__name__}: {error}"
            return self._quality(None, None, 0, reason)
        tokens = sum(len(loss) for loss in losses)
        perplexity = math.exp(sum(float(loss.sum()) for loss in losses) / tokens)
        means = [float(loss.mean()) for loss in losses]
        error_of_mean = float(np.std(means, ddof=1)) / math.sqrt(len(means)) if len(means) > 1 else None
        return self._quality(perplexity, error_of_mean and perplexity * error_of_mean, tokens, None)

    def _quality(self, perplexity: float | None, error: float | None, tokens: int, reason: str | None) -> Quality:
        return Quality(
            perplexity=perplexity,
            standard_error=error,
            tokens=tokens,
            text=self._text,
            text_sha256=self._sha256,
            tokens_sha256=self._tokens_sha256,
            reason=reason,
        )


def no_perplexity(reason: str) -> Quality:
    """Of a text that could not even be cut into tokens."""
    return Quality(perplexity=None, standard_error=None, tokens=0, text="", text_sha256="", reason=reason)


def _window_losses(
    endpoint: Endpoint, windows: Sequence[Sequence[int]], written: int, progress: Progress
) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    """Negative log-likelihoods of every scored token, an array a window."""
    losses: list[np.ndarray[Any, np.dtype[np.float64]]] = []
    with endpoint.client(endpoint.timeout_s) as client:
        for window in windows:
            progress(len(losses), len(windows), "windows of text")
            answer = client.post(
                "/v1/completions",
                json={
                    "model": endpoint.model,
                    "prompt": list(window),
                    "max_tokens": written,
                    "temperature": 0,
                    "echo": True,
                    "logprobs": 1,
                },
            )
            answer.raise_for_status()
            logprobs = answer.json()["choices"][0]["logprobs"]["token_logprobs"]
            losses.append(-np.array(logprobs[1 : len(window)], dtype=np.float64))
    progress(len(losses), len(windows), "windows of text")
    return losses
