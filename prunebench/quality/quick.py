"""Perplexity of a text that every machine has: what `prunebench evaluate` does where no task is named."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from loadgen.endpoint import Endpoint, check_endpoint
from loadgen.prompts.tokens import served_encoding
from prunebench.experiment.tables.quality import QualitySettings
from prunebench.quality.perplexity import Encode, PerplexityProbe, Tokens, checkpoint_tokens
from prunebench.terminal.progress import Progress, unseen
from reports.runs.records.quality import Quality

TEXT = "stdlib:pydoc_data/topics.py"  # Python's documentation of its language: English with code, 0.7 MB
WORDS = f"perplexity of Python's own documentation ({TEXT})"
_CHARACTERS = 100_000  # of the text: more tokens than are scored
_PIECE = (
    4  # characters a token of the context, that a server tokenizes at a time: ours refuses what no context could hold
)
_SHORTEST = 512  # tokens of a context, where the server does not say


def quick_perplexity(endpoint: Endpoint, checkpoint: Path | None, progress: Progress = unseen) -> Quality:
    """Perplexity through the endpoint, tokenized by the checkpoint or by the server itself.

    Raises LoadError for a server that does not answer, or does not tokenize.
    """
    served = check_endpoint(endpoint)
    written = 0 if served.engine else 1  # our server scores a prompt alone
    settings = QualitySettings(perplexity_files=[TEXT])
    if served.max_model_len is not None:
        longest = min(settings.context_tokens, served.max_model_len - written)
        settings = settings.model_copy(update={"context_tokens": longest})
    if checkpoint is not None:
        return PerplexityProbe(settings, checkpoint_tokens(checkpoint)).measure(
            endpoint, written=written, progress=progress
        )
    encode, piece = served_tokens_of(endpoint, served.max_model_len)
    found = PerplexityProbe(settings, encode).measure(endpoint, written=written, progress=progress)
    words = f"{found.text}, tokenized by the server in parts of {piece:,} characters"
    return found.model_copy(update={"text": words})


def quality_line(found: Quality) -> str:
    """The perplexity with its standard error, or why there is none."""
    if found.perplexity is None:
        return f"no perplexity: {found.reason}"
    error = "" if found.standard_error is None else f" ± {found.standard_error:.3g}"
    bits = "" if found.bits_per_byte is None else f" ({found.bits_per_byte:.4g} bits a byte)"
    return f"perplexity {found.perplexity:.4g}{error} a token{bits}, over {found.tokens:,} tokens: {found.text}"


def served_tokens_of(endpoint: Endpoint, longest: int | None) -> tuple[Encode, int]:
    """Tokenizes by the server's own /tokenize, and the number of characters at a time; a part's first token may be another than in the
    whole. `longest` is the server's context, if it says so. Encoding raises LoadError for a server that does not tokenize.
    """
    piece = _PIECE * (longest or _SHORTEST)

    def encode(texts: Sequence[str]) -> list[Tokens]:
        parts = ([served_encoding(endpoint, part) for part in _parts(text[:_CHARACTERS], piece)] for text in texts)
        return [Tokens(list(itertools.chain.from_iterable(found)), None) for found in parts]

    return encode, piece


def _parts(text: str, most: int) -> Iterator[str]:
    """The text in parts of whole lines."""
    part = ""
    for line in text.splitlines(keepends=True):
        if part and len(part) + len(line) > most:
            yield part
            part = ""
        part += line
    yield part
