"""Prompts: token ids of an exact number, or texts of the user's."""

from __future__ import annotations

import itertools
import random
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tokenizers import Tokenizer

from loadgen import UNREADABLE
from loadgen.endpoint import Endpoint, LoadError
from loadgen.prompts.messages import Chat, numbered
from loadgen.prompts.sessions import SyntheticSessions
from loadgen.workloads.base import Workload
from loadgen.workloads.fields.length_pairs import LengthPairs
from loadgen.workloads.fields.lengths import draw_tokens
from loadgen.workloads.fields.trace_file import TraceRow
from loadgen.workloads.mix import MixLoad
from loadgen.workloads.sessions import SessionsLoad

Prompt = list[int] | str | Chat

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
    """Ordinary token ids, drawn anew for every request, exactly as many as asked for (`loadgen.workloads.fields`).

    Two prompts differ from their first tokens on, so that a prefix cache has nothing to give; or from after the first
    `shared_prefix` tokens on, which all have in common, or those of one of `groups`.
    """

    pool: Sequence[int]
    tokens: int | str | LengthPairs
    seed: int
    shared_prefix: int = 0
    groups: int = 1

    def __getitem__(self, index: int) -> Prompt:
        return self.ids(index)

    def ids(self, index: int) -> list[int]:
        """The token ids of request `index`."""
        if isinstance(self.tokens, LengthPairs):
            length, _ = self.tokens.draw(self.seed, index)
        else:
            length = draw_tokens(self.tokens, f"{self.seed}/prompt/{index}")
        shared = min(self.shared_prefix, length)
        own = random.Random(f"{self.seed}/{index}").choices(self.pool, k=length - shared)
        if not shared:
            return own
        group = random.Random(f"{self.seed}/group/{index}").randrange(self.groups)
        of_group = random.Random(f"{self.seed}/shared/{group}" if group else f"{self.seed}/shared")
        return of_group.choices(self.pool, k=shared) + own


@dataclass(frozen=True)
class TracePrompts:
    """Prompts as long as a trace's, which begin alike where the trace says that its prompts did.

    Every hash id stands for its own block of tokens, so that a prefix cache hits as in the recorded traffic.
    """

    pool: Sequence[int]
    rows: Sequence[TraceRow]
    seed: int

    def __getitem__(self, index: int) -> Prompt:
        return self.ids(index)

    def ids(self, index: int) -> list[int]:
        """The token ids of request `index`; those of warm-up requests share nothing."""
        row = self.rows[index % len(self.rows)]
        hashes = row.hash_ids if index >= 0 else ()
        blocks = (random.Random(f"{self.seed}/block/{h}").choices(self.pool, k=row.block_tokens) for h in hashes)
        ids = list(itertools.islice(itertools.chain.from_iterable(blocks), row.prompt_tokens))
        return ids + random.Random(f"{self.seed}/{index}").choices(self.pool, k=row.prompt_tokens - len(ids))


@dataclass(frozen=True)
class TextPrompts:
    """The same as text of which the tokenizer makes exactly as many tokens, those that it adds by itself included."""

    made: SyntheticPrompts | TracePrompts  # over a pool of `word_tokens`
    tokenizer: Tokenizer

    def __getitem__(self, index: int) -> Prompt:
        ids = self.made.ids(index)
        added = len(self.tokenizer.encode("").ids)
        words = ids[: len(ids) - added]
        text: str = self.tokenizer.decode(words)
        again = self.tokenizer.encode(text)
        if (
            not words
            or len(again.ids) != len(ids)
            or self.tokenizer.encode(text, add_special_tokens=False).ids != words
        ):
            raise LoadError(
                f"--prompt-as text: no text of exactly {len(ids)} tokens keeps its tokens when tokenized again; leave it out to send ids"
            )
        return text


@dataclass(frozen=True)
class WordPrompts:
    """The same as text of as many words, for servers whose tokens nobody here can count."""

    made: SyntheticPrompts | TracePrompts  # over the places in `words`
    words: Sequence[str]

    def __getitem__(self, index: int) -> Prompt:
        return " ".join(self.words[place] for place in self.made.ids(index))


@dataclass(frozen=True)
class FilePrompts:
    """The user's texts or chats in order, and again when they run out: then with a number in front, which no prefix cache holds."""

    texts: Sequence[str | Chat]
    notes: tuple[str, ...] = ()  # entries of the file that are skipped

    def __getitem__(self, index: int) -> Prompt:
        lap, place = divmod(index, len(self.texts))
        found = self.texts[place]
        if not lap:
            return found
        return f"({lap}) {found}" if isinstance(found, str) else numbered(found, lap)


@dataclass(frozen=True)
class MixPrompts:
    """Those of the part that each request is of."""

    parts: Sequence[Prompts]
    workload: MixLoad
    seed: int

    def __getitem__(self, index: int) -> Prompt:
        return self.parts[self.workload.part_number(self.seed, index)][index]


def make_prompts(workload: Workload, tokens: Tokenizer | Sequence[int], seed: int) -> Prompts:
    """Synthetic prompts of a workload, from a tokenizer or from ids that stand for words. Raises LoadError.

    Prompts that are counted in words take nothing of `tokens`.
    """
    if isinstance(workload, MixLoad):
        parts = [make_prompts(one, tokens, workload.seed_of(seed, n)) for n, one in enumerate(workload.alone)]
        return MixPrompts(parts, workload, seed)
    words = _WORDS.split()
    if workload.prompt_as == "words":
        pool = list(range(len(words)))
    elif isinstance(tokens, Tokenizer):
        pool = word_tokens(tokens) if workload.prompt_as == "text" else plain_tokens(tokens)
    else:
        pool = list(tokens)
    if not pool:
        raise LoadError("--tokenizer: has no tokens of plain text; give --prompts FILE")
    made: SyntheticPrompts | TracePrompts
    if (trace := workload.recorded()) is not None:
        made = TracePrompts(pool, trace.rows, seed)
    else:
        lengths = workload.length_pairs() or workload.prompt_tokens
        made = SyntheticPrompts(pool, lengths, seed, workload.shared_prefix, workload.prefix_groups)
    prompts: Prompts
    if workload.prompt_as == "words":
        prompts = WordPrompts(made, words)
    elif workload.prompt_as == "ids":
        prompts = made
    elif isinstance(tokens, Tokenizer):
        prompts = TextPrompts(made, tokens)
    else:
        raise LoadError("--prompt-as text: needs the model's --tokenizer PATH, to count exactly")
    return SyntheticSessions(prompts, workload, seed) if isinstance(workload, SessionsLoad) else prompts


def read_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer.json, or that of a folder."""
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001 - tokenizers raises bare Exceptions
        raise LoadError(f"--tokenizer {path}: {error}") from None


def plain_tokens(tokenizer: Tokenizer) -> list[int]:
    """Ids that stand for plain text: nothing special, nothing half a character."""
    special = set(tokenizer.get_added_tokens_decoder())
    ids = [i for i in range(tokenizer.get_vocab_size()) if i not in special]
    texts = tokenizer.decode_batch([[i] for i in ids])
    return [i for i, text in zip(ids, texts, strict=True) if text.strip().isascii() and text.strip().isalpha()]


def word_tokens(tokenizer: Tokenizer) -> list[int]:
    """Ids that stay themselves when they go through text: words with the space before them."""
    ids = plain_tokens(tokenizer)
    texts = tokenizer.decode_batch([[i, i, i] for i in ids])
    again = tokenizer.encode_batch(texts, add_special_tokens=False)
    return [
        i
        for i, text, back in zip(ids, texts, again, strict=True)
        if text.strip().count(" ") == 2 and back.ids == [i] * 3
    ]


def count_tokens(tokenizer: Path) -> Callable[[str], int]:
    """Counts the tokens of a text, special ones not added, by a tokenizer.json or its folder. Raises LoadError."""
    loaded = read_tokenizer(tokenizer)
    return lambda text: len(loaded.encode(text, add_special_tokens=False).ids)


def check_served_tokenizer(endpoint: Endpoint, tokenizer: Tokenizer) -> None:
    """Hold a tokenizer against the server's own /tokenize, where it has one. Raises LoadError if they disagree."""
    import httpx

    try:
        with endpoint.client() as client:
            answer = client.post("/tokenize", json={"model": endpoint.model, "prompt": _WORDS})
            answer.raise_for_status()
            served = list(answer.json()["tokens"])
    except (httpx.HTTPError, *UNREADABLE):
        return
    ours = tokenizer.encode(_WORDS).ids
    if served != ours:
        raise LoadError(
            f"--tokenizer: differs from that of {endpoint.url}: the same text has {len(ours)} tokens here, "
            f"there {len(served)}{'' if len(served) != len(ours) else ' others'}"
        )


def served_tokens(endpoint: Endpoint) -> list[int]:
    """Ids that the server's own /tokenize gives for ordinary words. Raises LoadError where there is no such path."""
    try:
        return sorted(set(served_encoding(endpoint, _WORDS)))
    except LoadError as error:
        raise LoadError(f"{error}: give --tokenizer PATH or --prompts FILE") from None


def served_encoding(endpoint: Endpoint, text: str) -> list[int]:
    """A text's token ids by the server's own /tokenize, without special ones. Raises LoadError where there is no such path."""
    import httpx

    try:
        with endpoint.client() as client:
            answer = client.post(
                "/tokenize", json={"model": endpoint.model, "prompt": text, "add_special_tokens": False}
            )
            answer.raise_for_status()
            return list(answer.json()["tokens"])
    except (httpx.HTTPError, *UNREADABLE) as error:
        raise LoadError(f"{endpoint.url} does not tokenize ({error})") from None
