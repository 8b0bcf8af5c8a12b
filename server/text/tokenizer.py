"""Text to token ids and back, through the checkpoint's `tokenizer.json`. `decoders` has those of streams."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import tokenizers

from server.offloading.off_loop import INLINE, SLICE
from server.settings import ServeError
from server.text.decoders import ByteLevelDecoder, TokenDecoder, WindowDecoder

TOKENIZER_NAME = "tokenizer.json"
_CONTEXT = 6  # prompt tokens that a decoder starts from: enough for a split character and for a leading space
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>\Z")  # SentencePiece's byte fallback


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
        kind = ByteLevelDecoder if self.is_byte_level else WindowDecoder
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
