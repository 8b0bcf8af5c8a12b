r"""`text_offset` of log-probabilities: the character of the returned text at which each token begins.

The lengths of `tokens` do not add up to it: special tokens may be left out of the text, and bytes that are only a part of a
character are written as `bytes:\xe2`. A token that continues a character has the offset of that character.
"""

from __future__ import annotations

from collections.abc import Iterable

from server.text.decoders import TokenDecoder
from server.text.tokenizer import Tokenizer


class TextOffsets:
    """Offsets of the tokens of one text, in order."""

    def __init__(self, decoder: TokenDecoder, begin: int = 0) -> None:
        """begin: characters of the returned text before the first token."""
        self._decoder = decoder
        self.length = begin  # of the text so far, an incomplete character not counted

    def next(self, token_id: int) -> int:
        """The offset of the next token."""
        offset = self.length + self._decoder.broken(token_id)
        self.length += len(self._decoder.push(token_id))
        return offset

    def all(self, token_ids: Iterable[int]) -> list[int]:
        """The offset of each of the next tokens."""
        return [self.next(token_id) for token_id in token_ids]


def offsets_in_text(tokenizer: Tokenizer, text: str, *, add_special_tokens: bool) -> list[int]:
    """The offset of each token of a text in that text; added special tokens have the offset of what follows.

    Where the tokenizer normalizes (for example to NFC), its tokens spell another text; then the offsets are the tokenizer's own,
    which may leave out a leading space.
    """
    token_ids, added, starts = tokenizer.origins(text, add_special_tokens=add_special_tokens)
    decoder = tokenizer.decoder([], skip_special_tokens=False)
    decoded = TextOffsets(decoder)
    offsets, kept = [], []
    for token_id, is_added in zip(token_ids, added, strict=True):
        if is_added:
            offsets.append(decoded.length)
        else:
            kept.append(token_id)
            offsets.append(decoded.next(token_id))
    if tokenizer.decode(kept, skip_special_tokens=False) == text:
        return offsets
    last = 0
    for at, (start, is_added) in enumerate(zip(starts, added, strict=True)):
        last = last if is_added else max(last, start)
        offsets[at] = last
    return offsets
