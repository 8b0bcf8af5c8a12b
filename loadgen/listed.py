"""The answer to a request whose prompt is a list: one stream in which every chunk says whose it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from loadgen.sse import Answer, EventReader, count_of
from loadgen.stream_end import event_error, is_done, not_a_chunk, parse


class ListedAnswers:
    """Answers side by side, told apart by the `index` of each chunk's choice; used like one `Answer`.

    The running usage in a chunk is its own choice's with vLLM, and that of all choices with our server; where the first count
    of a second choice goes on from the last of the first, it is that of all. Prompts have no usage of their own then, so
    theirs is shared out evenly, to the same sum.
    """

    def __init__(self, answers: int, *, keep_text: bool = False) -> None:
        self.all = [Answer(keep_text=keep_text) for _ in range(answers)]
        self._events = EventReader()
        self._over = False
        self._of_all: bool | None = None  # what a running count counts; None: not seen yet
        self._last = 0
        self._prompt_tokens = 0

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
        for n, answer in enumerate(self.all):
            if self._of_all:
                share = [self._prompt_tokens * i // len(self.all) for i in (n, n + 1)]
                answer.prompt_tokens = share[1] - share[0]
            if not answer.continuous:
                answer.output_tokens = None  # a chunk's usage was no count of its own
            answer.settle(count_tokens)

    def _event(self, at_ns: int, data: bytes) -> None:
        if is_done(data):
            self._over = True
            for answer in self.all:
                answer.complete = True
            return
        if not data.strip():  # a heartbeat
            return
        try:
            chunk: dict[str, Any] = parse(data)
            error = event_error(chunk)
            for choice in chunk.get("choices") or [] if error is None else []:
                answer = self.all[choice.get("index", 0)]
                answer.take({**chunk, "choices": [choice], "usage": self._own(answer, chunk.get("usage"))}, at_ns)
        except (ValueError, TypeError, AttributeError, LookupError):
            error = not_a_chunk(data)
        if error is not None:
            self._over = True
            for answer in self.all:
                answer.error = error

    def _own(self, answer: Answer, usage: dict[str, Any] | None) -> dict[str, Any] | None:
        """The usage of one choice, of that in its chunk."""
        count = count_of(usage, "completion_tokens") if usage else None
        if usage is None or count is None:
            return usage
        if self._of_all is None and self._last and not answer.counted and self.counted:
            self._of_all = count > self._last
        own = answer.counted + count - self._last if self._of_all else count
        self._last, self._prompt_tokens = count, count_of(usage, "prompt_tokens") or 0
        return {"completion_tokens": own} if self._of_all else usage
