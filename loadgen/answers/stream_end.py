"""The end of an answer, and every form in which servers report an error."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json

from loadgen import UNREADABLE

# Of `finish_reason`: what ends an answer as it was asked for, and what says that it failed.
FINISHED = frozenset({"stop", "length", "tool_calls", "function_call"})
FAILED = {
    "abort": "the server ended the answer before it was finished",
    "error": "the server ended the answer with an error (finish_reason error)",
    "content_filter": "a content filter cut the answer off (finish_reason content_filter)",
}
_ERROR_CHARACTERS = 500


def parse(data: bytes) -> Any:
    """JSON as `json.loads` reads it, in a third of the time. Raises ValueError."""
    try:
        return from_json(data)
    except ValueError:
        try:
            return json.loads(data)  # which also takes one half of a surrogate pair, written as an escape
        except RecursionError:
            raise ValueError("JSON that is nested too deeply") from None


def one_line(text: str, most: int = _ERROR_CHARACTERS) -> str:
    """A server's words as one line that can be recorded and shown, cut off at `most` characters."""
    line = " ".join(text.encode("utf-8", "replace").decode().split())
    return line if len(line) <= most else f"{line[:most]}…"


def is_done(data: bytes) -> bool:
    """Whether an event's data is the end marker of a stream."""
    return data.startswith(b"[DONE]") and data.strip() == b"[DONE]"


def event_error(chunk: dict[str, Any]) -> str | None:
    """The error that an event reports; None if it reports none.

    `error` (OpenAI, and nearly all others); `object: error` (vLLM before 0.6); `error_code` above 0 (FastChat); an error
    without a wrapper, which has no choices but a `detail`, or a `message` and a `code`.
    """
    error = chunk.get("error")
    if isinstance(error, dict) or error:
        return one_line(_message(error))
    bare = "choices" not in chunk and ("detail" in chunk or {"message", "code"} <= chunk.keys())
    return one_line(_message(chunk)) if bare or chunk.get("object") == "error" or chunk.get("error_code") else None


def not_a_chunk(data: bytes) -> str:
    """The error of an event that cannot be read."""
    return f"an event is not a completion chunk: {data[:80]!r}"


def named_error(data: bytes) -> bytes:
    """An event that its field or its name calls an error; data that is not JSON becomes its message."""
    try:
        parse(data)
    except ValueError:
        data = json.dumps(data.decode("utf-8", "replace").strip()).encode()
    return b'{"error":' + data + b"}"


def _message(error: object) -> str:
    """The words in an error, however deep; an error without any is said to have none."""
    if not isinstance(error, dict):
        return str(error)
    words = (error[key] for key in ("message", "detail", "error", "text") if error.get(key))
    return _message(next(words, str(error) if error else "the server reported an error without a message"))


def error_of(status: int, body: bytes, retry_after: str | None = None) -> str:
    """One line for an answer that is no stream, with its Retry-After: the client does not retry."""
    try:
        message = _message(json.loads(body)["error"])
    except UNREADABLE:
        message = body[:200].decode("utf-8", "replace")
    later = "" if retry_after is None else f" (Retry-After: {one_line(retry_after, 40)})"
    return f"HTTP {status}: {one_line(message) or 'an empty answer'}{later}"
