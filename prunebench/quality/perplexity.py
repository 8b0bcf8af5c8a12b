"""Held-out perplexity of what is served, through its own endpoint: `echo` and `logprobs` of the OpenAI completions API."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from tokenizers import Tokenizer

from loadgen.endpoint import Endpoint
from prunebench.experiment.tables.quality import QualitySettings
from prunebench.experiment.texts import STDLIB_PREFIX, read_text
from prunebench.terminal.progress import Progress, unseen
from reports.runs.records.quality import Quality

CHARACTERS_A_TOKEN = 4  # of windows that are cut by characters, for each token of the settings
_BEFORE = "\n"  # what a window that is cut by characters follows: all of its text is scored, by any tokenizer


class Tokens(NamedTuple):
    """A text's token ids, and the characters up to each one's end; `ends` is None where they are not known."""

    ids: Sequence[int]
    ends: Sequence[int] | None


Encode = Callable[[Sequence[str]], Sequence[Tokens]]  # without special tokens


def checkpoint_tokens(checkpoint: Path) -> Encode:
    """Tokenizes by the `tokenizer.json` of a checkpoint, without the truncation and padding it may ask for."""
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda texts: [
        Tokens(found.ids, [end for _, end in found.offsets])
        for found in tokenizer.encode_batch(list(texts), add_special_tokens=False)
    ]


@dataclass(frozen=True)
class _Window:
    """Text that is scored on its own: in pieces, of each of which the first token is context and is not scored."""

    pieces: Sequence[Sequence[int]]
    bytes: int | None  # of the scored text, in UTF-8; None: not known


class PerplexityProbe:
    """The same windows of held-out text, asked of every configuration.

    Windows are consecutive and do not overlap, `context_tokens` long, the budget of `max_tokens` shared equally between the
    files. Each starts cold: its first token is context only and is not scored.

    `same_text`, for configurations whose tokenizers differ: windows are cut by characters, `CHARACTERS_A_TOKEN` for a token of
    these settings, so that they are the same text to every tokenizer, and all of it is scored.
    """

    def __init__(self, settings: QualitySettings, encode: Encode, *, same_text: bool = False) -> None:
        texts = [read_text(name) for name in settings.perplexity_files]
        self._sha256 = hashlib.sha256("\0".join(texts).encode()).hexdigest()
        size, budget, unit = settings.context_tokens, settings.max_tokens // len(texts), "tokens"
        if same_text:
            most, unit = budget * CHARACTERS_A_TOKEN, "characters"
            budget, length = most, size * CHARACTERS_A_TOKEN
            parts = [text[i : min(i + length, most)] for text in texts for i in range(0, min(len(text), most), length)]
            self._windows = _of_text(parts, encode, size)
            self._windows_sha256 = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        else:
            length = size
            self._windows = [
                w for t, found in zip(texts, encode(texts), strict=True) for w in _of_tokens(t, found, size, budget)
            ]
        names = ", ".join(Path(name.removeprefix(STDLIB_PREFIX)).name for name in settings.perplexity_files)
        self._text = f"the first {budget:,} {unit} each of {names}, in windows of {length}"
        pieces = [[list(piece) for piece in window.pieces] for window in self._windows]
        tokens = pieces if same_text else [piece for (piece,) in pieces]
        self._tokens_sha256 = hashlib.sha256(repr(tokens).encode()).hexdigest()
        if not same_text:
            self._windows_sha256 = self._tokens_sha256

    @property
    def pieces(self) -> list[Sequence[int]]:
        """The token ids that are asked, a list a request."""
        return [piece for window in self._windows for piece in window.pieces]

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
        nats, tokens = [float(loss.sum()) for loss in losses], [len(loss) for loss in losses]
        perplexity = math.exp(math.fsum(nats) / sum(tokens))
        means = [total / count for total, count in zip(nats, tokens, strict=True)]
        error_of_mean = float(np.std(means, ddof=1)) / math.sqrt(len(means)) if len(means) > 1 else None
        sizes = [window.bytes for window in self._windows if window.bytes is not None]
        scored = sum(sizes) if len(sizes) == len(self._windows) else None
        found = self._quality(perplexity, error_of_mean and perplexity * error_of_mean, sum(tokens), None)
        return found.model_copy(
            update={
                "bytes": scored,
                "bits_per_byte": math.fsum(nats) / math.log(2) / scored if scored else None,
                "window_nats": nats,
                "window_tokens": tokens,
                "windows_sha256": self._windows_sha256,
            }
        )

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


def token_windows(settings: QualitySettings, encode: Encode) -> list[Sequence[int]]:
    """The windows of token ids that a perplexity of one tokenizer is measured over, whole ones; a shorter one if there is no other."""
    windows = PerplexityProbe(settings, encode).pieces
    return [one for one in windows if len(one) == settings.context_tokens] or windows[:1]


def no_perplexity(reason: str) -> Quality:
    """Of a text that could not even be cut into tokens."""
    return Quality(perplexity=None, standard_error=None, tokens=0, text="", text_sha256="", reason=reason)


def _of_tokens(text: str, found: Tokens, size: int, budget: int) -> Iterator[_Window]:
    """Windows of `size` tokens. A character of which two tokens have a part is counted where it ends."""
    for start in range(0, min(len(found.ids), budget), size):
        stop = min(start + size, budget, len(found.ids))
        if stop - start > 1:
            known = None if found.ends is None else len(text[found.ends[start] : found.ends[stop - 1]].encode())
            yield _Window([found.ids[start:stop]], known)


def _of_text(parts: Sequence[str], encode: Encode, size: int) -> list[_Window]:
    """A window for each part: all its tokens are scored, after a line break, in pieces of at most `size`.

    Raises ValueError for a tokenizer without a token for a line break.
    """
    (before, *own) = encode([_BEFORE, *parts])
    if not before.ids:
        raise ValueError("its tokenizer has no token for a line break")
    windows = []
    for part, found in zip(parts, own, strict=True):
        ids = [before.ids[-1], *found.ids]
        pieces = [ids[i : i + size] for i in range(0, len(ids) - 1, size - 1)]
        windows.append(_Window(pieces, len(part.encode())))
    return windows


def _window_losses(
    endpoint: Endpoint, windows: Sequence[_Window], written: int, progress: Progress
) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    """Negative log-likelihoods of every scored token, an array a window."""
    losses: list[np.ndarray[Any, np.dtype[np.float64]]] = []
    with endpoint.client(endpoint.timeout_s) as client:
        for window in windows:
            progress(len(losses), len(windows), "windows of text")
            pieces = [_piece_losses(client, endpoint.model, piece, written) for piece in window.pieces]
            losses.append(np.concatenate(pieces))
    progress(len(losses), len(windows), "windows of text")
    return losses


def _piece_losses(
    client: httpx.Client, model: str, piece: Sequence[int], written: int
) -> np.ndarray[Any, np.dtype[np.float64]]:
    answer = client.post(
        "/v1/completions",
        json={
            "model": model,
            "prompt": list(piece),
            "max_tokens": written,
            "temperature": 0,
            "echo": True,
            "logprobs": 1,
        },
    )
    answer.raise_for_status()
    logprobs = answer.json()["choices"][0]["logprobs"]["token_logprobs"]
    return -np.array(logprobs[1 : len(piece)], dtype=np.float64)
