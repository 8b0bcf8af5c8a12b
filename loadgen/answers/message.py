"""The message that an answer is: what a conversation is carried on with."""

from __future__ import annotations

from typing import Any

from loadgen import UNREADABLE
from loadgen.answers.event_reader import EventReader
from loadgen.answers.stream_end import is_done, parse


def answer_message(body: bytes) -> dict[str, Any]:
    """The assistant's message in a whole answer, streamed or not: its text without the reasoning; what cannot be read is left out."""
    events = EventReader()
    found = [body] if body.lstrip().startswith(b"{") else [*events.feed(body), *events.end()]
    texts: list[str] = []
    for data in found:
        if is_done(data):
            break
        try:
            for choice in parse(data).get("choices") or []:
                said = choice.get("delta") or choice.get("message") or {}
                texts.append(said.get("content") or choice.get("text") or "")
        except UNREADABLE:
            continue
    return {"role": "assistant", "content": "".join(texts)}
