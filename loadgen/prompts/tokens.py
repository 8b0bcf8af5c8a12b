"""What synthetic prompts are made of: tokens of plain words, from a tokenizer's file or from the server's own /tokenize."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer

from loadgen import UNREADABLE
from loadgen.endpoint import Endpoint, LoadError

# Asked of a server's /tokenize where no tokenizer is at hand: ordinary words, so ordinary tokens.
WORDS = (
    "time year people way day man thing woman life child world school state family student group country problem hand part "
    "place case week company system program question work government number night point home water room mother area money "
    "story fact month lot right study book eye job word business issue side kind head house service friend father power hour "
    "game line end member law car city community name president team minute idea body information back parent face others "
    "level office door health person art war history party result change morning reason research girl guy moment air teacher"
)


def read_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer.json, or that of a folder, without the truncation and padding it may ask for."""
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001 - tokenizers raises bare Exceptions
        raise LoadError(f"--tokenizer {path}: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


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
            answer = client.post("/tokenize", json={"model": endpoint.model, "prompt": WORDS})
            answer.raise_for_status()
            served = list(answer.json()["tokens"])
    except (httpx.HTTPError, *UNREADABLE):
        return
    ours = tokenizer.encode(WORDS).ids
    if served != ours:
        raise LoadError(
            f"--tokenizer: differs from that of {endpoint.url}: the same text has {len(ours)} tokens here, "
            f"there {len(served)}{'' if len(served) != len(ours) else ' others'}"
        )


def served_tokens(endpoint: Endpoint) -> list[int]:
    """Ids that the server's own /tokenize gives for ordinary words. Raises LoadError where there is no such path."""
    try:
        return sorted(set(served_encoding(endpoint, WORDS)))
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
