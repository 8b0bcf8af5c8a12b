"""What a choice of a chunk says, and the message that an answer is: what a conversation is carried on with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


def content(choice: dict[str, Any]) -> str:
    """The text a chunk brings, reasoning included: whoever thinks writes tokens."""
    delta = choice.get("delta") or {}
    found = choice.get("text") or delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning")
    return str(found or "".join(map(_called, delta.get("tool_calls") or [])))


def answers(choice: dict[str, Any]) -> bool:
    """Whether a chunk's text is of the answer, and not of the reasoning before it."""
    delta = choice.get("delta") or {}
    return bool(choice.get("text") or delta.get("content") or delta.get("tool_calls"))


def spoken(choice: dict[str, Any]) -> str:
    """The part of a chunk's text that is carried on: without reasoning and calls of tools."""
    delta = choice.get("delta") or {}
    return str(choice.get("text") or delta.get("content") or "")


def encode_message(texts: Iterable[str]) -> bytes:
    """The assistant's message as JSON."""
    return json.dumps({"role": "assistant", "content": "".join(texts)}).encode()


def _called(call: dict[str, Any]) -> str:
    function = call.get("function") or {}
    return f"{function.get('name') or ''}{function.get('arguments') or ''}"
