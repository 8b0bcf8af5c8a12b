"""What a choice of a chunk says, and the message that an answer is: what a conversation is carried on with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
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
    """The part of a chunk's text that is carried on as such: without reasoning, and without calls of tools (`ToolCalls`)."""
    delta = choice.get("delta") or {}
    return str(choice.get("text") or delta.get("content") or "")


class ToolCalls:
    """The calls of tools in an answer, put together from the pieces that chunks bring."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []  # as OpenAI's API has them in a message
        self._places: dict[Any, int] = {}  # by the index that chunks name

    def add(self, choice: dict[str, Any]) -> None:
        """Take the pieces of a chunk: an id and a name in the first of a call, parts of its arguments in the others."""
        delta = choice.get("delta") or {}
        for position, piece in enumerate(delta.get("tool_calls") or ()):
            function = piece.get("function") or {}
            call = self._call(piece.get("index", position), piece.get("id"))
            call["function"]["name"] += function.get("name") or ""
            arguments = function.get("arguments") or ""
            call["function"]["arguments"] += arguments if isinstance(arguments, str) else json.dumps(arguments)

    @property
    def ids(self) -> tuple[str, ...]:
        """What the tools' answers refer to, in order."""
        return tuple(call["id"] for call in self.calls)

    def _call(self, index: Any, given: Any) -> dict[str, Any]:
        """The call of an index; another one where the id is another, since not all servers count."""
        place = self._places.get(index)
        if place is not None and (not given or self.calls[place]["id"] == given):
            return self.calls[place]
        self._places[index] = len(self.calls)
        identity = str(given or f"call_{len(self.calls)}")
        self.calls.append({"id": identity, "type": "function", "function": {"name": "", "arguments": ""}})
        return self.calls[-1]


def encode_message(texts: Iterable[str], calls: Sequence[dict[str, Any]] = ()) -> bytes:
    """The assistant's message as JSON; one that only calls tools has no content, as OpenAI's API has it."""
    text = "".join(texts)
    if not calls:
        return json.dumps({"role": "assistant", "content": text}).encode()
    return json.dumps({"role": "assistant", "content": text or None, "tool_calls": calls}).encode()


def _called(call: dict[str, Any]) -> str:
    function = call.get("function") or {}
    return f"{function.get('name') or ''}{function.get('arguments') or ''}"
