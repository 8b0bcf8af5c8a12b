"""What the bytes of an answer mean: events, tokens and their times. Runs after the answer has ended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadgen.records import CountedBy


@dataclass(slots=True)
class Answer:
    """Tokens and times of one streamed completion."""

    arrival_ns: list[int] = field(default_factory=list)
    arrival_tokens: list[int] = field(default_factory=list)  # cumulative
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    counted_by: CountedBy | None = None
    finish_reason: str | None = None
    error: str | None = None
    complete: bool = False  # the stream said [DONE]

    @property
    def incomplete(self) -> str | None:
        """What a whole answer has and this one lacks."""
        if not self.complete:
            return "the stream ended without [DONE]"
        if self.finish_reason == "abort":
            return "the server ended the answer before it was finished"
        return None if self.arrival_ns else "the answer had no tokens"


def events(reads: Sequence[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """(time, data) of each event: the time of the read that completed it, however the bytes were split.

    Lines may end in LF, CRLF or CR, comments and other fields are passed over, and data over several lines is joined, as
    the HTML standard has it for server-sent events. An event that never ended is dropped.
    """
    rest = b""
    data: list[bytes] = []
    for at_ns, chunk in reads:
        text = rest + chunk
        # A CR at the end may be half of a CRLF: it waits for the next read.
        held = b"\r" if text.endswith(b"\r") else b""
        lines = text.removesuffix(held).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        rest = lines.pop() + held
        for line in lines:
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                yield at_ns, b"\n".join(data)
                data = []


def read_answer(reads: Sequence[tuple[int, bytes]]) -> Answer:
    """Read a whole stream at once."""
    answer = Answer()
    for _ in reading(reads, answer):
        pass
    return answer


def reading(reads: Sequence[tuple[int, bytes]], answer: Answer) -> Iterator[None]:
    """Read a stream of OpenAI completion or chat chunks into `answer`; yields after each event, so that it can be paused.

    Tokens are counted by the usage each chunk carries (`continuous_usage_stats`) where the server offers it: then a chunk
    of several tokens counts as several and a chunk with an incomplete character as one. Otherwise every chunk with content
    counts one, and if the final usage disagrees its total is spread evenly over the chunks. An event that is no chunk ends
    the reading with an error; what was read before it stands.
    """
    continuous = False
    for at_ns, data in events(reads):
        if data == b"[DONE]":
            answer.complete = True
            break
        try:
            chunk = json.loads(data)
            answer.error = event_error(chunk)
            if answer.error is not None:
                break
            continuous = take(chunk, at_ns, answer, continuous=continuous)
        except (ValueError, TypeError, AttributeError, LookupError):
            answer.error = f"an event is not a completion chunk: {data[:80]!r}"
            break
        yield
    settle(answer, continuous=continuous)


def event_error(chunk: dict[str, Any]) -> str | None:
    """The message of an event that tells of an error."""
    return None if chunk.get("error") is None else _message(chunk["error"])


def take(chunk: dict[str, Any], at_ns: int, answer: Answer, *, continuous: bool) -> bool:
    """Add one chunk. Returns whether chunks carry a running count, as the first one with content shows."""
    choices, usage = chunk.get("choices") or [], chunk.get("usage") or {}
    tokens = usage.get("completion_tokens")
    if choices:
        answer.finish_reason = choices[0].get("finish_reason") or answer.finish_reason
        before = answer.arrival_tokens[-1] if answer.arrival_tokens else 0
        continuous = continuous or (not before and bool(tokens))
        now = before
        if continuous and tokens is not None:
            now = tokens
        elif _has_content(choices[0]):
            now = before + 1
        if now > before:
            answer.arrival_ns.append(at_ns)
            answer.arrival_tokens.append(now)
    if tokens:
        answer.output_tokens = tokens
    answer.prompt_tokens = usage.get("prompt_tokens", answer.prompt_tokens)
    return continuous


def settle(answer: Answer, *, continuous: bool) -> None:
    """Say who counted, and make the arrivals add up to the total."""
    counted = answer.arrival_tokens[-1] if answer.arrival_tokens else 0
    if continuous:
        answer.counted_by = "server-continuous-usage"
    elif answer.output_tokens is not None:
        answer.counted_by = "server-usage"
        if counted and counted != answer.output_tokens:
            total = answer.output_tokens
            answer.arrival_tokens = [round(n * total / counted) for n in answer.arrival_tokens]
    elif counted:
        answer.counted_by = "chunks"
        answer.output_tokens = counted


def _has_content(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta") or {}
    return bool(choice.get("text") or delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning"))


def _message(error: object) -> str:
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)


def error_of(status: int, body: bytes) -> str:
    """One line for an answer that is no stream."""
    try:
        message = _message(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        message = body[:200].decode("utf-8", "replace")
    return f"HTTP {status}: {' '.join(message.split())}"
