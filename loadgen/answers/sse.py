"""What the bytes of an answer mean: events, tokens and their times. Runs beside the client, never in its way."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from typing import Any

from loadgen import UNREADABLE
from loadgen.answers.event_reader import BOM, MOST_BYTES, EventReader
from loadgen.answers.message import ToolCalls, answers, content, encode_message, spoken
from loadgen.answers.plain_chunk import MOST_TOKENS, Usage, plain_chunk, whole_usage
from loadgen.answers.stream_end import FAILED, FINISHED, event_error, is_done, not_a_chunk, one_line, parse
from loadgen.records.schema import CountedBy

_REASONS = FINISHED | FAILED.keys()
_REASON_CHARACTERS = 64  # of any other finish_reason


class Answer:
    """Tokens and times of one completion or chat completion: `feed` each part, then `settle`.

    Tokens are counted by the usage each chunk carries (`continuous_usage_stats`) where the server offers it: then a chunk
    of several tokens counts as several and a chunk with an incomplete character as one. Otherwise every chunk with content
    counts one, and if the final usage disagrees its total is spread evenly over the chunks; then the tokens of a single chunk
    are unknown (`loadgen.metrics.latencies`). Without any usage the total is that of the tokenizer, if there is one. An event that
    is no chunk ends the reading with an error; what was read before it stands. A last event without its blank line is read
    too. An answer that is no stream but one JSON object arrives whole, at its last read.

    Nothing that a server can send raises: what cannot be read is an error.
    """

    def __init__(self, *, keep_text: bool = False, keep_message: bool = False) -> None:
        self.prompt_tokens: int | None = None
        self.output_tokens: int | None = None
        self.output_characters = 0  # of all its text
        self.first_answer_ns: int | None = None  # of the first chunk after any reasoning; None: no reasoning
        self.reasoning_tokens: int | None = None  # streamed, or counted in the usage; None: no reasoning apart
        self.hidden_reasoning_tokens: int | None = None  # of those, that no chunk has brought; None: all came
        self.cached_tokens: int | None = None  # of the prompt, in the server's prefix cache; None: it does not say
        self._before_answer = -1  # tokens before the first chunk that is no reasoning; -1: none has come
        self._usage: dict[str, Any] = {}  # the last
        self._usage_data = b""  # the event that has a later one
        self.counted_by: CountedBy | None = None
        self.finish_reason: str | None = None
        self.error: str | None = None
        self.complete = False  # the stream said [DONE]
        self.continuous = False  # its chunks carry a running count
        self._silent_ns = array("q")  # of chunks with text under a running count that stood still
        self._at_ns = array("q")
        self._tokens = array("q")  # cumulative
        self._events = EventReader()
        self._object: bytearray | None = None  # of an answer that is no stream
        self._texts: list[str] | None = [] if keep_text else None
        self._spoken: list[str] | None = [] if keep_message else None
        self._tools = ToolCalls()  # that a message kept has called
        self._last_ns = 0
        self._begins = b""

    @property
    def all(self) -> list[Answer]:
        """Itself: a list of prompts has several (`loadgen.answers.list_response`)."""
        return [self]

    @property
    def arrival_ns(self) -> list[int]:
        """One entry a chunk that brought tokens."""
        return self._at_ns.tolist()

    @property
    def arrival_tokens(self) -> list[int]:
        """Cumulative output tokens at that chunk."""
        return self._tokens.tolist()

    @property
    def counted(self) -> int:
        """Tokens so far."""
        return self._tokens[-1] if self._tokens else 0

    @property
    def incomplete(self) -> str | None:
        """Why the answer is not whole: it needs tokens, and after them a finish_reason in `FINISHED`, or [DONE]."""
        if self.finish_reason in FAILED:
            return FAILED[self.finish_reason]
        if self.finish_reason not in FINISHED and not self.complete:
            came = "" if self._at_ns or not self._begins else f"; the answer began with {self._begins!r}"
            return f"the stream ended without [DONE], and without a finish_reason of stop, length or tool_calls{came}"
        if self._at_ns:
            return None
        hidden = self.hidden_reasoning_tokens
        return "the answer had no tokens" + (
            f" that were streamed, only {hidden:,} of reasoning that were not" if hidden else ""
        )

    @property
    def message(self) -> bytes:
        """The assistant's message so far as JSON, without the reasoning and with its calls of tools; empty without `keep_message`."""
        return encode_message(self._spoken or (), self._tools.calls)

    @property
    def calls(self) -> tuple[str, ...]:
        """The ids of the calls of tools in that message."""
        return self._tools.ids

    def feed(self, at_ns: int, chunk: bytes) -> None:
        """Bytes that were read at a moment."""
        if not self._last_ns:
            self._begins = chunk[:80]
            if chunk.removeprefix(BOM).lstrip()[:1] == b"{":
                self._object = bytearray()
        self._last_ns = at_ns
        if self._object is not None:
            self._object += chunk[: MOST_BYTES + 1 - len(self._object)]
        elif not self.complete and self.error is None:
            if (data := self._events.single(chunk)) is not None:
                self._take_event(at_ns, data)
            else:
                self._take_events(at_ns, self._events.feed(chunk))

    def settle(self, count_tokens: Callable[[str], int] | None = None) -> None:
        """Nothing more will come: say who counted, and make the arrivals add up to the total."""
        if self._object is not None:
            self._take_object(bytes(self._object))
        elif not self.complete and self.error is None:
            self._take_events(self._last_ns, self._events.end())
        if self.continuous and len(self._at_ns) == 1 and self.counted > len(self._silent_ns) > 0:
            # A "running" count that was the total from the first chunk on: count the chunks instead.
            self.continuous = False
            self._at_ns += self._silent_ns
            self._tokens = array("q", range(1, len(self._at_ns) + 1))
        counted = self.counted
        self._settle_reasoning(counted)
        if self.continuous:
            self.counted_by = "server-continuous-usage"
        elif self.output_tokens is not None:
            self.counted_by = "server-usage"
        elif counted and count_tokens is not None and self._texts is not None:
            self.counted_by, self.output_tokens = "tokenizer", count_tokens(_encodable("".join(self._texts)))
        elif counted:
            self.counted_by, self.output_tokens = "chunks", counted
        if counted and self.output_tokens is not None and counted != self.output_tokens:
            hidden = self.hidden_reasoning_tokens or 0  # all of them before the first chunk
            shown = self.output_tokens - hidden
            if not self.continuous or shown == counted:
                self._tokens = array("q", (hidden + round(n * shown / counted) for n in self._tokens))

    def _settle_reasoning(self, counted: int) -> None:
        """What the usage says of reasoning and cache; the reasoning that was seen, where it says nothing of it.

        A count above that of all output tokens is none. Of a server that counts reasoning and does not stream it the tokens are
        known, and their times are not: the first chunk is the answer's.
        """
        if self._usage_data:
            self._usage = whole_usage(self._usage_data)
        said = count_of(_details(self._usage, "completion_tokens_details"), "reasoning_tokens") or 0
        self.cached_tokens = count_of(_details(self._usage, "prompt_tokens_details"), "cached_tokens")
        total = counted if self.continuous or self.output_tokens is None else self.output_tokens
        said = said if said <= max(total, self.output_tokens or 0) else 0
        seen = counted if self._before_answer < 0 else self._before_answer
        if seen:
            self.reasoning_tokens = said or round(seen * total / counted)
        elif said:
            self.reasoning_tokens = self.hidden_reasoning_tokens = said
        else:
            self.first_answer_ns = None

    def _take_events(self, at_ns: int, found: list[bytes]) -> None:
        for data in found:
            if self.complete or self.error is not None:
                return
            self._take_event(at_ns, data)

    def _take_event(self, at_ns: int, data: bytes) -> None:
        if data[:1] != b"{":
            self.complete = is_done(data)
            if self.complete or not data.strip():  # a heartbeat
                return
        plain = plain_chunk(data)
        if plain is not None:
            self._take_plain(at_ns, *plain, data)
            return
        try:
            chunk = parse(data)
            self.error = event_error(chunk)
            if self.error is None:
                self.take(chunk, at_ns)
        except UNREADABLE:
            self.error = not_a_chunk(data)

    def take(self, chunk: dict[str, Any], at_ns: int) -> None:
        """Add one chunk. Whether chunks carry a running count is seen by the first one with content."""
        choices, usage = chunk.get("choices") or [], chunk.get("usage") or {}
        tokens = count_of(usage, "completion_tokens")
        if choices:
            text = content(choices[0]) if len(choices) == 1 else "".join(map(content, choices))
            for choice in choices:
                if finish := choice.get("finish_reason"):
                    self.finish_reason = finish if finish in _REASONS else one_line(str(finish), _REASON_CHARACTERS)
            if text and self._before_answer < 0 and any(map(answers, choices)):
                self._before_answer, self.first_answer_ns = self.counted, at_ns
            if self._spoken is not None:
                self._spoken += map(spoken, choices)
                for choice in choices:
                    self._tools.add(choice)
            self._arrive(at_ns, text, tokens)
        if usage:
            self._usage, self._usage_data = usage, b""
        if tokens:
            self.output_tokens = tokens
        prompt = count_of(usage, "prompt_tokens")
        self.prompt_tokens = self.prompt_tokens if prompt is None else prompt

    def _take_plain(self, at_ns: int, text: str, usage: Usage | None, data: bytes) -> None:
        """Add a chunk that `plain_chunk` has read, as `take` would."""
        if self._before_answer < 0:
            self._before_answer, self.first_answer_ns = self.counted, at_ns
        if self._spoken is not None:
            self._spoken.append(text)
        if usage is None:
            self._arrive(at_ns, text, None)
            return
        self._arrive(at_ns, text, usage.completion_tokens)
        self._usage_data = data
        self.output_tokens = usage.completion_tokens or self.output_tokens
        if usage.prompt_tokens is not None:
            self.prompt_tokens = usage.prompt_tokens

    def _arrive(self, at_ns: int, text: str, tokens: int | None) -> None:
        """Count a chunk by its text, or by the running count that it carries."""
        before = now = self._tokens[-1] if self._tokens else 0
        if tokens and not before:
            self.continuous = True
        if self.continuous and tokens is not None:
            now = tokens
            if text and now == before:
                self._silent_ns.append(at_ns)
        elif text:
            now = before + 1
        self.output_characters += len(text)
        if text and self._texts is not None:
            self._texts.append(text)
        if now > before:
            self._at_ns.append(at_ns)
            self._tokens.append(now)

    def recount(self, at_ns: array[int], tokens: array[int], *, exact: bool) -> None:
        """Replace the arrivals by those that a running count gives; it is not `exact` where a chunk's tokens had to be shared."""
        if tokens:
            self._at_ns, self._tokens, self.output_tokens, self.continuous = at_ns, tokens, tokens[-1], exact

    def _take_object(self, body: bytes) -> None:
        """A completion that was not streamed: all its tokens arrived together, at the end."""
        if len(body) > MOST_BYTES:
            self.error = f"the answer is longer than {MOST_BYTES} bytes, and no stream"
            return
        try:
            whole = json.loads(body)
            self.error = event_error(whole)
            if self.error is not None:
                return
            choice = whole["choices"][0]
            self.take({**whole, "choices": [{**choice, "delta": choice.get("message")}]}, self._last_ns)
            self.continuous = False
            self.complete = True
        except UNREADABLE:
            self.error = f"the answer is not a completion: {body[:80]!r}"


def count_of(usage: dict[str, Any], key: str) -> int | None:
    """A count that a usage has, also where it is written as text or with a point; anything else is none."""
    value = usage.get(key)
    if type(value) is int:
        return value if 0 <= value <= MOST_TOKENS else None
    try:
        count = None if isinstance(value, bool) else int(value)  # type: ignore[arg-type]  # None raises
    except (TypeError, ValueError, OverflowError):
        return None
    return None if count is None or not 0 <= count <= MOST_TOKENS else count


def _details(usage: dict[str, Any], key: str) -> dict[str, Any]:
    found = usage.get(key)
    return found if isinstance(found, dict) else {}


def _encodable(text: str) -> str:
    """Without halves of surrogate pairs, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode()
