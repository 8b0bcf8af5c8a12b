"""The answer to a request whose prompt is a list: one stream in which every chunk says whose it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from loadgen.sse import Answer, EventReader, event_error, not_a_chunk


class ListedAnswers:
    """Answers side by side, told apart by the `index` of each chunk's choice; used like one `Answer`.

    The usage of a chunk is taken for that of its own choice, as vLLM and our server have it. The last usage of all, which
    has no choice, is a total: it can be held against the sum, but says nothing of the parts.
    """

    def __init__(self, answers: int, *, keep_text: bool = False) -> None:
        self.all = [Answer(keep_text=keep_text) for _ in range(answers)]
        self._events = EventReader()
        self._over = False

    @property
    def counted(self) -> int:
        """Tokens so far, of all."""
        return sum(answer.counted for answer in self.all)

    def feed(self, at_ns: int, chunk: bytes) -> None:
        """Bytes that were read at a moment."""
        for data in self._events.feed(chunk):
            if not self._over:
                self._event(at_ns, data)

    def settle(self, count_tokens: Callable[[str], int] | None = None) -> None:
        """Nothing more will come."""
        for answer in self.all:
            if not answer.continuous:
                answer.output_tokens = None  # a chunk's usage was no count of its own
            answer.settle(count_tokens)

    def _event(self, at_ns: int, data: bytes) -> None:
        if data == b"[DONE]":
            self._over = True
            for answer in self.all:
                answer.complete = True
            return
        try:
            chunk: dict[str, Any] = json.loads(data)
            error = event_error(chunk)
            for choice in chunk.get("choices") or [] if error is None else []:
                self.all[choice.get("index", 0)].take({**chunk, "choices": [choice]}, at_ns)
        except (ValueError, TypeError, AttributeError, LookupError):
            error = not_a_chunk(data)
        if error is not None:
            self._over = True
            for answer in self.all:
                answer.error = error
