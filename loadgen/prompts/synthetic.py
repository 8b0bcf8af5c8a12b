"""Prompts: token ids of an exact number, or texts of the user's."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from loadgen.endpoint import LoadError
from loadgen.prompts.base import Prompt, Prompts
from loadgen.prompts.batch_lines import length_of, other_keys
from loadgen.prompts.messages import Request, numbered
from loadgen.prompts.sessions import SyntheticSessions
from loadgen.prompts.tokens import WORDS, plain_tokens, word_tokens
from loadgen.workloads.base import Workload
from loadgen.workloads.fields.length_pairs import LengthPairs
from loadgen.workloads.fields.lengths import draw_tokens
from loadgen.workloads.fields.trace_file import TraceRow
from loadgen.workloads.sessions import SessionsLoad


@dataclass(frozen=True)
class SyntheticPrompts(Prompts):
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
class TracePrompts(Prompts):
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
class TextPrompts(Prompts):
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
class WordPrompts(Prompts):
    """The same as text of as many words, for servers whose tokens nobody here can count."""

    made: SyntheticPrompts | TracePrompts  # over the places in `words`
    words: Sequence[str]

    def __getitem__(self, index: int) -> Prompt:
        return " ".join(self.words[place] for place in self.made.ids(index))


@dataclass(frozen=True)
class FilePrompts(Prompts):
    """The user's texts or requests in order, and again when they run out: then with a number in front, which no prefix cache holds."""

    texts: Sequence[str | Request]
    notes: tuple[str, ...] = ()  # entries of the file that are skipped, and keys that are not sent

    def __getitem__(self, index: int) -> Prompt:
        lap, place = divmod(index, len(self.texts))
        found = self.texts[place]
        if not lap:
            return found
        return f"({lap}) {found}" if isinstance(found, str) else numbered(found, lap)

    def own_length(self, index: int) -> int | None:
        """What its line asks for."""
        found = self.texts[index % len(self.texts)]
        return None if isinstance(found, str) else length_of(found)

    @property
    def own_keys(self) -> frozenset[str]:
        """Those of all lines."""
        return other_keys(self.texts)


def make_prompts(workload: Workload, tokens: Tokenizer | Sequence[int], seed: int) -> Prompts:
    """Synthetic prompts of a workload that is no mix, from a tokenizer or from ids that stand for words. Raises LoadError.

    Prompts that are counted in words take nothing of `tokens`.
    """
    words = WORDS.split()
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
