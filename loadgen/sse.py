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
    """Read a stream of OpenAI completion or chat chunks.

    Tokens are counted by the usage each chunk carries (`continuous_usage_stats`) where the server offers it: then a chunk
    of several tokens counts as several and a chunk with an incomplete character as one. Otherwise every chunk with content
    counts one, and if the final usage disagrees its total is spread evenly over the chunks.
    """
    answer = Answer()
    chunks = 0
    continuous = False
    for at_ns, data in events(reads):
        if data == b"[DONE]":
            answer.complete = True
            break
        try:
            event = json.loads(data)
        except ValueError:
            answer.error = f"an event is not JSON: {data[:80]!r}"
            break
        if event.get("error") is not None:
            answer.error = _message(event["error"])
            break
        choices, usage = event.get("choices") or [], event.get("usage") or {}
        tokens = usage.get("completion_tokens")
        if choices:
            answer.finish_reason = choices[0].get("finish_reason") or answer.finish_reason
            if tokens is not None:
                continuous = True
                chunks = tokens
            elif _has_content(choices[0]):
                chunks += 1
            if chunks > (answer.arrival_tokens[-1] if answer.arrival_tokens else 0):
                answer.arrival_ns.append(at_ns)
                answer.arrival_tokens.append(chunks)
        if tokens is not None:
            answer.output_tokens, answer.prompt_tokens = tokens, usage.get("prompt_tokens")
    _settle(answer, continuous=continuous)
    return answer


def _settle(answer: Answer, *, continuous: bool) -> None:
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
