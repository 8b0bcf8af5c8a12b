"""Text to token ids and back, through the checkpoint's `tokenizer.json`; a stream never yields half a character.

    Tokenizer       one checkpoint's vocabulary and special tokens
    TokenDecoder    the text of a growing list of tokens: what each token adds

There are two kinds of vocabulary. In byte-level ones (GPT-2, Llama 3, Qwen, Mistral since Nemo) each token is a byte string,
and the text is those bytes read as UTF-8: an incremental UTF-8 decoder is exact for any tokens. In the others (SentencePiece:
Llama 2, Gemma) the text of a token depends on its neighbours, so a short window is decoded again.

Why not the library's own `DecodeStream` (tokenizers 0.23, `python -P benchmarks/detokenizing.py`, two EPYC cores, medians of 30):

    byte-level      0.62 µs a token, ours 0.29
    SentencePiece   4.4 µs a token, ours 8.0; but it raises on 989 of 2000 lists of random ids, as a broken checkpoint writes them

It also has no end: a character that is unfinished there is lost, where decoding the whole list gives U+FFFD.
"""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Protocol

import tokenizers

from server.offloading.off_loop import INLINE, SLICE
from server.settings import ServeError

TOKENIZER_NAME = "tokenizer.json"
_CONTEXT = 6  # prompt tokens that a decoder starts from: enough for a split character and for a leading space
_LONGEST_CHARACTER = 4  # bytes, so tokens
_MAX_PENDING = 8  # tokens held back for a character to become complete; one has four bytes, more is not text
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>\Z")  # SentencePiece's byte fallback


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


class TooManyTokensError(Exception):
    """A text has more tokens, namely `tokens`, than its caller can use."""

    def __init__(self, tokens: int) -> None:
        super().__init__(f"{tokens} tokens")
        self.tokens = tokens


class Tokenizer:
    """The checkpoint's own tokenizer, without the truncation and padding its file may ask for."""

    def __init__(self, folder: Path) -> None:
        file = folder / TOKENIZER_NAME
        if not file.is_file():
            raise ServeError(f"{file}: not found; serving needs the checkpoint's fast tokenizer in this file")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(file))
            decoder = json.loads(file.read_bytes()).get("decoder") or {}
        except Exception as error:  # noqa: BLE001 - the Rust library raises plain Exception
            raise ServeError(f"{file}: cannot be read as a tokenizer: {error}") from None
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the caller decides how many threads there are
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.is_byte_level = decoder.get("type") == "ByteLevel"
        self._special = {i for i, token in self._tokenizer.get_added_tokens_decoder().items() if token.special}
        self._bytes: dict[int, bytes] = {}
        self._texts: dict[int, str | None] = {}

    @property
    def vocabulary(self) -> int:
        """Token ids below this are known."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    @property
    def longest_token(self) -> int:
        """UTF-8 bytes of the longest token."""
        return max(
            (len(self._piece_bytes(piece)) for piece in self._tokenizer.get_vocab(with_added_tokens=True)), default=1
        )

    def encode(self, text: str, *, add_special_tokens: bool, most: int | None = None) -> list[int]:
        """Token ids of `text`; special tokens are added as the tokenizer's post-processor does (usually BOS).

        Raises TooManyTokensError for a long text of more than `most`, whose ids would take long to return.
        """
        if len(text) > INLINE:  # only the batch call releases Python's lock
            encoding = self._tokenizer.encode_batch_fast([text], add_special_tokens=add_special_tokens)[0]
            if most is not None and len(encoding) > most:
                raise TooManyTokensError(len(encoding))
            return encoding.ids
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    def origins(self, text: str, *, add_special_tokens: bool) -> tuple[list[int], list[bool], list[int]]:
        """Of each token: its id, whether it was added to the text, and the character of the text that it came from."""
        encoding = self._tokenizer.encode_batch([text], add_special_tokens=add_special_tokens)[0]
        return encoding.ids, list(map(bool, encoding.special_tokens_mask)), [start for start, _ in encoding.offsets]

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        """Text of the whole list at once."""
        if len(token_ids) > INLINE:
            return "".join(self._decoded_in_slices(token_ids, skip_special_tokens))
        return self._tokenizer.decode(list(token_ids), skip_special_tokens=skip_special_tokens)

    def _decoded_in_slices(self, token_ids: Sequence[int], skip_special_tokens: bool) -> Iterator[str]:
        """Converting a list holds Python's lock. Slices end between characters; each is decoded after the token before it."""
        begin, context = 0, ""
        while begin < len(token_ids):
            ends = range(begin + SLICE, len(token_ids))
            end = next((at for at in ends if all(map(self._is_whole, token_ids[at - 1 : at + 1]))), len(token_ids))
            lists = [
                list(token_ids[max(begin - 1, 0) : end]),
                [token_ids[end - 1]],
            ]  # the batch call releases Python's lock
            text, last = self._tokenizer.decode_batch(lists, skip_special_tokens=skip_special_tokens)
            yield text[len(context) :]
            begin, context = end, last

    def _is_whole(self, token_id: int) -> bool:
        """Whether the token is text, of which no byte belongs to a character that another token begins or ends."""
        is_byte = not self.is_byte_level and _BYTE_TOKEN.match(self._tokenizer.id_to_token(token_id) or "")
        return not is_byte and not self.is_special(token_id) and bool(self.whole_text(token_id))

    def decoder(self, prompt: Sequence[int], *, skip_special_tokens: bool) -> TokenDecoder:
        """A decoder for what follows `prompt`: a character or leading space begun there is continued."""
        kind = _ByteLevelDecoder if self.is_byte_level else _WindowDecoder
        return kind(self, prompt[-_CONTEXT:], skip_special_tokens)

    def is_special(self, token_id: int) -> bool:
        """Whether the token stands for no text: BOS, EOS, chat markers."""
        return token_id in self._special

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one token by itself; empty for an id outside the vocabulary."""
        found = self._bytes.get(token_id)
        if found is None:
            found = self._piece_bytes(self._tokenizer.id_to_token(token_id) or "")
            self._bytes[token_id] = found
        return found

    def _piece_bytes(self, piece: str) -> bytes:
        return _bytes_of_byte_level(piece) if self.is_byte_level else _bytes_of_piece(piece)

    def whole_text(self, token_id: int) -> str | None:
        """One token of a byte-level vocabulary, if it is whole characters by itself; else None."""
        try:
            return self._texts[token_id]
        except KeyError:
            try:
                text = self.token_bytes(token_id).decode()
            except UnicodeDecodeError:
                text = None
            self._texts[token_id] = text
            return text

    def token_text(self, token_id: int) -> str:
        r"""One token as `logprobs` shows it; bytes that are no text by themselves as OpenAI writes them, `bytes:\xe2`."""
        text = self.whole_text(token_id)
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in self.token_bytes(token_id)) if text is None else text


class _ByteLevelDecoder:
    def __init__(self, tokenizer: Tokenizer, context: Sequence[int], skip_special: bool) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._inside = False  # a character
        for token_id in context:
            self.push(token_id)

    def push(self, token_id: int) -> str:
        if self._skip_special and self._tokenizer.is_special(token_id):
            return ""
        if not self._inside and (text := self._tokenizer.whole_text(token_id)) is not None:
            return text
        text = self._utf8.decode(self._tokenizer.token_bytes(token_id))
        self._inside = self._utf8.getstate()[0] != b""
        return text

    def broken(self, token_id: int) -> int:
        begun = self._utf8.getstate()[0]
        if not begun or (self._skip_special and self._tokenizer.is_special(token_id)):
            return 0
        return 0 if _continued(begun, self._tokenizer.token_bytes(token_id)) else 1

    def finish(self) -> str:
        return self._utf8.decode(b"", final=True)


class _WindowDecoder:
    """Decodes the tokens since the last but one whole character, and emits what is new at the end."""

    def __init__(self, tokenizer: Tokenizer, context: Sequence[int], skip_special: bool) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        # `settled`: tokens of the window whose text has been emitted.
        self._window, self._settled = self._whole_characters(list(context))
        self._emitted = self._text(self._window[: self._settled])  # that text

    def push(self, token_id: int) -> str:
        if (self._skip_special and self._tokenizer.is_special(token_id)) or not self._tokenizer.token_bytes(token_id):
            return ""  # and not context for what follows
        self._window.append(token_id)
        text = self._text(self._window)
        if text.endswith("\ufffd") and len(self._window) - self._settled < _MAX_PENDING:
            return ""
        return self._emit(text)

    def broken(self, token_id: int) -> int:
        waiting = self._window[self._settled :]
        is_skipped = self._skip_special and self._tokenizer.is_special(token_id)
        begun = b"".join(map(self._tokenizer.token_bytes, waiting))
        continued = _continued(begun, b"" if is_skipped else self._tokenizer.token_bytes(token_id))
        new = len(self._text(self._window)) - len(self._emitted) if waiting else 0
        # The library writes U+FFFD for each byte of a run that ends inside a character, also for those that are complete.
        return min(new, len(waiting)) - continued if continued else new

    def finish(self) -> str:
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


def _byte_of_character() -> dict[str, int]:
    """How byte-level vocabularies write bytes: printable ones as themselves, the rest from U+0100 on (GPT-2's table)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTE_OF_CHARACTER = _byte_of_character()


def _bytes_of_byte_level(piece: str) -> bytes:
    try:
        return bytes(_BYTE_OF_CHARACTER[character] for character in piece)
    except KeyError:
        return piece.encode()  # an added token is written as plain text


def _bytes_of_piece(piece: str) -> bytes:
    if match := _BYTE_TOKEN.match(piece):
        return bytes([int(match[1], 16)])
    return piece.replace("\u2581", " ").encode()
