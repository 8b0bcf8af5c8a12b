"""The chunk that nearly all chunks are: one choice's text, perhaps with a usage.

A compiled decoder makes nothing of what is not asked for. What is more than that, or odd in any way, is read as whole JSON by
`loadgen.answers.sse`, which decides what it means, and whether it is an error.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct

MOST_TOKENS = 2**24  # a count above it is none: no model holds as many
_Count = Annotated[int, Meta(ge=0, le=MOST_TOKENS)]


class Usage(Struct, gc=False):
    """The counts of a chunk so far."""

    completion_tokens: _Count | None = None
    prompt_tokens: _Count | None = None


class _Delta(Struct, gc=False):
    content: str | None = None
    tool_calls: None = None  # a chunk with some has more than text


class _Choice(Struct, gc=False):
    text: str | None = None
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(Struct, gc=False):
    choices: tuple[_Choice]  # of one prompt
    usage: Usage | None = None
    object: str = ""
    error: Any = UNSET
    error_code: Any = UNSET


class _Whole(Struct):
    usage: dict[str, Any]


_decode = msgspec.json.Decoder(_Chunk).decode
_decode_usage = msgspec.json.Decoder(_Whole).decode
_NOTHING = Usage()


def plain_chunk(data: bytes) -> tuple[str, Usage | None] | None:
    """The text, which is not empty, and the usage of a chunk that has no more; None for any other event."""
    try:
        chunk = _decode(data)
    except (ValueError, RecursionError):  # what is not of this form, and what is no JSON
        return None
    (choice,) = chunk.choices
    text = choice.text or (choice.delta and choice.delta.content)
    if not text or choice.finish_reason is not None or chunk.usage == _NOTHING:
        return None
    if chunk.error is not UNSET or chunk.error_code is not UNSET or chunk.object == "error":
        return None
    return text, chunk.usage


def whole_usage(data: bytes) -> dict[str, Any]:
    """All of the usage of an event that `plain_chunk` has read; empty if the rest of it cannot be read."""
    try:
        return _decode_usage(data).usage
    except (ValueError, RecursionError):
        return {}
