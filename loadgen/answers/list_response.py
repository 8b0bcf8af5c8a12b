"""The answer to a request whose prompt is a list: one stream whose chunks carry the index of their choice."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any, NamedTuple

from loadgen import UNREADABLE
from loadgen.answers.event_reader import EventReader
from loadgen.answers.message import content
from loadgen.answers.sse import Answer, count_of
from loadgen.answers.stream_end import event_error, is_done, not_a_chunk, parse


class _Usage(NamedTuple):
    """A running usage, and the choices in its chunk: those that brought text, or all if none did."""

    at_ns: int
    choices: list[int]
    tokens: int
    prompt_tokens: int | None


class ListedAnswers:
    """Answers side by side, by the `index` of each chunk's choice; used like one `Answer`.

    The running usage in a chunk is its own choice's with vLLM, and that of all choices with our server: which of the two is
    decided at the end, when all of it is known (`_of_all`). Where it is that of all, a chunk's new tokens go to the choices in
    it, once; prompts have no usage of their own then, so theirs is shared out evenly, to the same sum.
    """

    def __init__(self, answers: int, *, keep_text: bool = False) -> None:
        self.all = [Answer(keep_text=keep_text) for _ in range(answers)]
        self._events = EventReader()
        self._over = False
        self._last_ns = 0
        self._usages: list[_Usage] = []
        self._uncounted = 0  # chunks with text and without a running count
        self._total: int | None = None  # of a usage that has no choices beside it

    @property
    def counted(self) -> int:
        """Tokens so far, of all; while it comes, every chunk counts as one."""
        return sum(answer.counted for answer in self.all)

    def feed(self, at_ns: int, chunk: bytes) -> None:
        """Bytes that were read at a moment."""
        self._last_ns = at_ns
        self._take_events(self._events.feed(chunk))

    def settle(self, count_tokens: Callable[[str], int] | None = None) -> None:
        """Nothing more will come."""
        self._take_events(self._events.end())
        if self._usages and not self._uncounted:
            self._credit()
        for answer in self.all:
            answer.settle(count_tokens)

    def _take_events(self, found: list[bytes]) -> None:
        for data in found:
            if not self._over:
                self._event(self._last_ns, data)

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
            if error is None:
                self._take(chunk, at_ns)
        except UNREADABLE:
            error = not_a_chunk(data)
        if error is not None:
            self._over = True
            for answer in self.all:
                answer.error = error

    def _take(self, chunk: dict[str, Any], at_ns: int) -> None:
        choices, usage = chunk.get("choices") or [], chunk.get("usage") or {}
        count = count_of(usage, "completion_tokens")
        if any(choice.get("index", 0) < 0 for choice in choices):
            raise LookupError("a choice before the first")
        for choice in choices:
            self.all[choice.get("index", 0)].take({"choices": [choice]}, at_ns)
        written = [choice.get("index", 0) for choice in choices if content(choice)]
        if not choices:
            self._total = count
        elif count:
            places = written or [choice.get("index", 0) for choice in choices]
            self._usages.append(_Usage(at_ns, places, count, count_of(usage, "prompt_tokens")))
        elif written:
            self._uncounted += 1

    def _credit(self) -> None:
        """Give every answer the tokens that the running usage says came with its chunks."""
        of_all, exact, last = self._of_all(), True, 0
        at_ns = [array("q") for _ in self.all]
        tokens = [array("q") for _ in self.all]
        for usage in self._usages:
            new, last = usage.tokens - last, max(last, usage.tokens)
            exact = exact and (len(usage.choices) == 1 or new in {0, len(usage.choices)})
            for n, place in enumerate(usage.choices):
                before = tokens[place][-1] if tokens[place] else 0
                share = (new + len(usage.choices) - 1 - n) // len(usage.choices)
                own = before + share if of_all else usage.tokens
                if own > before:
                    at_ns[place].append(usage.at_ns)
                    tokens[place].append(own)
                if not of_all:
                    self.all[place].prompt_tokens = usage.prompt_tokens
        for n, answer in enumerate(self.all):
            answer.recount(at_ns[n], tokens[n], exact=exact)
            if of_all:
                prompts = self._usages[-1].prompt_tokens or 0
                share, rest = (prompts * i // len(self.all) for i in (n + 1, n))
                answer.prompt_tokens = share - rest

    def _of_all(self) -> bool:
        """Whether the running count is of all choices together.

        It is if a chunk has several choices; it is not if it ever falls. Else the total at the end decides: it is the last
        count, or the sum of each choice's last. Without one, a count of all continues from one choice to the next.
        """
        if any(len(usage.choices) > 1 for usage in self._usages):
            return True
        last, goes_on, own = 0, True, dict[int, int]()
        for usage in self._usages:
            if usage.tokens < last:
                return False
            (place,) = usage.choices
            goes_on = goes_on and (place in own or usage.tokens > last)
            own[place] = last = usage.tokens
        if self._total is not None and self._total in {last, sum(own.values())}:
            return self._total != sum(own.values())
        return goes_on and len(own) > 1
