"""Token ids to text in a stream: what each token adds, never half a character.

There are two kinds of vocabulary. In byte-level ones (GPT-2, Llama 3, Qwen, Mistral since Nemo) each token is a byte string,
and the text is those bytes read as UTF-8: an incremental UTF-8 decoder is exact for any tokens. In the others (SentencePiece:
Llama 2, Gemma) the text of a token depends on its neighbours, so a short window is decoded again.

Why not the library's own `DecodeStream` (tokenizers 0.23, `python -P -m benchmarks.server.detokenizing`, two EPYC cores, medians of 30):

    byte-level      0.62 µs a token, ours 0.29
    SentencePiece   4.4 µs a token, ours 8.0; but it raises on 989 of 2000 lists of random ids, as a broken checkpoint writes them

It also has no end: a character that is unfinished there is lost, where decoding the whole list gives U+FFFD.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from server.text.tokenizer import Tokenizer

_LONGEST_CHARACTER = 4  # bytes, so tokens
_MAX_PENDING = 8  # tokens held back for a character to become complete; one has four bytes, more is not text


class TokenDecoder(Protocol):
    """The text of a growing list of tokens."""

    def push(self, token_id: int) -> str:
        """What this token adds; empty while a character is incomplete."""
        ...

    def broken(self, token_id: int) -> int:
        """Characters (U+FFFD) that an incomplete character becomes if this token, which is not pushed, does not continue it."""
        ...

    def finish(self) -> str:
        """The incomplete rest, with U+FFFD for bytes that are no character."""
        ...


class ByteLevelDecoder:
    """Exact for any tokens of a byte-level vocabulary."""

    def __init__(self, tokenizer: Tokenizer, context: Sequence[int], skip_special: bool) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._inside = False  # a character
        for token_id in context:
            self.push(token_id)

    def push(self, token_id: int) -> str:  # noqa: D102 - see TokenDecoder
        if self._skip_special and self._tokenizer.is_special(token_id):
            return ""
        if not self._inside and (text := self._tokenizer.whole_text(token_id)) is not None:
            return text
        text = self._utf8.decode(self._tokenizer.token_bytes(token_id))
        self._inside = self._utf8.getstate()[0] != b""
        return text

    def broken(self, token_id: int) -> int:  # noqa: D102 - see TokenDecoder
        begun = self._utf8.getstate()[0]
        if not begun or (self._skip_special and self._tokenizer.is_special(token_id)):
            return 0
        return 0 if _continued(begun, self._tokenizer.token_bytes(token_id)) else 1

    def finish(self) -> str:  # noqa: D102 - see TokenDecoder
        return self._utf8.decode(b"", final=True)


class WindowDecoder:
    """Decodes the tokens since the last but one whole character, and emits what is new at the end."""

    def __init__(self, tokenizer: Tokenizer, context: Sequence[int], skip_special: bool) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        # `settled`: tokens of the window whose text has been emitted.
        self._window, self._settled = self._whole_characters(list(context))
        self._emitted = self._text(self._window[: self._settled])  # that text

    def push(self, token_id: int) -> str:  # noqa: D102 - see TokenDecoder
        if (self._skip_special and self._tokenizer.is_special(token_id)) or not self._tokenizer.token_bytes(token_id):
            return ""  # and not context for what follows
        self._window.append(token_id)
        text = self._text(self._window)
        if text.endswith("\ufffd") and len(self._window) - self._settled < _MAX_PENDING:
            return ""
        return self._emit(text)

    def broken(self, token_id: int) -> int:  # noqa: D102 - see TokenDecoder
        waiting = self._window[self._settled :]
        is_skipped = self._skip_special and self._tokenizer.is_special(token_id)
        begun = b"".join(map(self._tokenizer.token_bytes, waiting))
        continued = _continued(begun, b"" if is_skipped else self._tokenizer.token_bytes(token_id))
        new = len(self._text(self._window)) - len(self._emitted) if waiting else 0
        # The library writes U+FFFD for each byte of a run that ends inside a character, also for those that are complete.
        return min(new, len(waiting)) - continued if continued else new

    def finish(self) -> str:  # noqa: D102 - see TokenDecoder
        return self._emit(self._text(self._window))

    def _emit(self, text: str) -> str:
        new = text[len(self._emitted) :]
        if new:
            self._window = self._window[self._settled :]
            self._settled = len(self._window)
            self._emitted = self._text(self._window)
        return new

    def _whole_characters(self, context: list[int]) -> tuple[list[int], int]:
        """The context from its first whole character on, and the number of tokens up to the end of its last one.

        One stray byte would spoil a whole run of byte tokens, so that both ends are searched together.
        """
        for start, cut in product(range(_LONGEST_CHARACTER), repeat=2):
            text = self._text(context[start : len(context) - cut])
            if not text.startswith("\ufffd") and not text.endswith("\ufffd"):
                return context[start:], max(0, len(context) - cut - start)
        return context, len(context)

    def _text(self, token_ids: list[int]) -> str:
        return self._tokenizer.decode(token_ids, skip_special_tokens=self._skip_special)


def _continued(begun: bytes, more: bytes) -> int:
    """How many bytes of a character `begun` ends with, if `more` can continue it; else 0."""
    utf8 = codecs.getincrementaldecoder("utf-8")()
    try:
        utf8.decode(begun)
        inside = len(utf8.getstate()[0])
        utf8.decode(more[:1])
    except UnicodeDecodeError:
        return 0
    return inside
