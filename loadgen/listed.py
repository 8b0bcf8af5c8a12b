"""The answer to a request whose prompt is a list: one stream in which every chunk says whose it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from loadgen.sse import Answer, event_error, events, settle, take


def reading_list(reads: Sequence[tuple[int, bytes]], answers: Sequence[Answer]) -> Iterator[None]:
    """Read a stream into the answers, by the `index` of each chunk's choice; yields after each event.

    The usage of a chunk is taken for that of its own choice, as vLLM and our server have it. The last usage of all, which
    has no choice, is a total: it can be held against the sum, but says nothing of the parts.
    """
    continuous = [False] * len(answers)
    complete = False
    for at_ns, data in events(reads):
        if data == b"[DONE]":
            complete = True
            break
        try:
            chunk: dict[str, Any] = json.loads(data)
            error = event_error(chunk)
            for choice in chunk.get("choices") or [] if error is None else []:
                n = choice.get("index", 0)
                one = {**chunk, "choices": [choice]}
                continuous[n] = take(one, at_ns, answers[n], continuous=continuous[n])
        except (ValueError, TypeError, AttributeError, LookupError):
            error = f"an event is not a completion chunk: {data[:80]!r}"
        if error is not None:
            for answer in answers:
                answer.error = error
            break
        yield
    for n, answer in enumerate(answers):
        answer.complete = complete
        if not continuous[n]:
            answer.output_tokens = None  # counted by chunks
        settle(answer, continuous=continuous[n])
