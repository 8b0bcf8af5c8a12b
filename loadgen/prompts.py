"""What is asked: token ids of an exact number, or texts of the user's."""

from __future__ import annotations

import json
import random
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx
from tokenizers import Tokenizer

from loadgen.endpoint import Endpoint, LoadError

Prompt = list[int] | str

# Asked of a server's /tokenize where no tokenizer is at hand: ordinary words, so ordinary tokens.
_WORDS = (
    "time year people way day man thing woman life child world school state family student group country problem hand part "
    "place case week company system program question work government number night point home water room mother area money "
    "story fact month lot right study book eye job word business issue side kind head house service friend father power hour "
    "game line end member law car city community name president team minute idea body information back parent face others "
    "level office door health person art war history party result change morning reason research girl guy moment air teacher"
)


class Prompts(Protocol):
    """An endless row of prompts; the same seed gives the same row."""

    @abstractmethod
    def __getitem__(self, index: int) -> Prompt:
        """The prompt of request `index`."""


@dataclass(frozen=True)
class SyntheticPrompts:
    """Exactly `tokens` ordinary token ids each, drawn anew for every request.

    Two prompts differ from their first tokens on, so that a prefix cache has nothing to give.
    """

    pool: Sequence[int]
    tokens: int
    seed: int

    def __getitem__(self, index: int) -> Prompt:
        return random.Random(f"{self.seed}/{index}").choices(self.pool, k=self.tokens)


@dataclass(frozen=True)
class FilePrompts:
    """The user's texts in order, and again from the start when they run out."""

    texts: Sequence[str]

    def __getitem__(self, index: int) -> Prompt:
        return self.texts[index % len(self.texts)]


def ordinary_tokens(tokenizer: Path) -> list[int]:
    """Ids of a tokenizer.json (or its folder) that stand for plain text: nothing special, nothing half a character."""
    file = tokenizer / "tokenizer.json" if tokenizer.is_dir() else tokenizer
    try:
        loaded = Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001 - tokenizers raises bare Exceptions
        raise LoadError(f"--tokenizer {tokenizer}: {error}") from None
    special = set(loaded.get_added_tokens_decoder())
    ids = [i for i in range(loaded.get_vocab_size()) if i not in special]
    texts = loaded.decode_batch([[i] for i in ids])
    pool = [i for i, text in zip(ids, texts, strict=True) if text.strip().isascii() and text.strip().isalpha()]
    if not pool:
        raise LoadError(f"--tokenizer {tokenizer}: has no tokens of plain text; give --prompts FILE")
    return pool


def served_tokens(endpoint: Endpoint) -> list[int]:
    """Ids that the server's own /tokenize gives for ordinary words. Raises LoadError where there is no such path."""
    try:
        with endpoint.client() as client:
            answer = client.post(
                "/tokenize", json={"model": endpoint.model, "prompt": _WORDS, "add_special_tokens": False}
            )
            answer.raise_for_status()
            return sorted(set(answer.json()["tokens"]))
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise LoadError(
            f"{endpoint.url} does not tokenize ({error}): give --tokenizer PATH or --prompts FILE"
        ) from None


def read_prompts(file: Path) -> FilePrompts:
    """One prompt a line: plain text, or JSON objects with a `prompt` key where the name ends in .jsonl."""
    try:
        lines = [line for line in file.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(f"--prompts {file}: {error}") from None
    texts = [_json_prompt(file, n, line) for n, line in enumerate(lines, 1)] if file.suffix == ".jsonl" else lines
    if not texts:
        raise LoadError(f"--prompts {file}: holds no prompts")
    return FilePrompts(texts)


def _json_prompt(file: Path, number: int, line: str) -> str:
    try:
        prompt = json.loads(line)["prompt"]
    except (ValueError, KeyError, TypeError):
        raise LoadError(f'--prompts {file}: line {number} is not {{"prompt": "…"}}') from None
    if not isinstance(prompt, str):
        raise LoadError(f"--prompts {file}: line {number}: prompt must be a string")
    return prompt
