"""Answers by a grammar of what servers write, right and wrong, drawn by a seeded generator: bytes of a body, and of HTTP."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

from tests.loadgen.scripted import CLOSE, RESET, Step, chunked

_COUNTS = [0, 1, 2, 3, 4, 5, "4", "x", "", 4.0, -1, True, None, [], {}, 2**31, 2**63, 2**70, 1e308]
_COUNTS += [float("nan"), float("inf"), "9" * 5000, "NaN"]
_TEXTS = [" a", " b", "", None, " \u2028\x85", "\ud83d", "\x00", "\x1b[31m", "😀", 7, ["a"], {"a": 1}, "x" * 3000]
_REASONS = [
    None,
    None,
    "length",
    "stop",
    "abort",
    "error",
    "content_filter",
    "tool_calls",
    "eos",
    "\ud800",
    3,
    {"type": "stop"},
]
_ERRORS = [
    False,
    "",
    {},
    None,
    [],
    "died",
    {"message": "died"},
    {"message": {"error": ["x"]}},
    {"code": 7},
    "\udfff",
    0,
    1,
]
_INDICES = [0, 0, 0, 0, 1, 1, 2, -1, 9, None, "0", 0.0, True, [], 2**70]
_DEEP = [
    b'{"a":' * 3000,
    b"[" * 100_000,
    b'{"error":' * 150 + b'"x"' + b"}" * 150,
    b'{"error":' * 900 + b'"x"' + b"}" * 900,
]
_NOISE = [b"null", b"5", b"[]", b'"x"', b"{", b"\xff\xfe", b"<html>", b"", b" ", b"[DONE", b"[done]", b"1" * 5000]
_LINES = [
    b": ping",
    b":",
    b"retry: 3000",
    b"id: 1",
    b"event: message",
    b"event: ping",
    b"event: error",
    b"error: died",
    b"x",
]
_STATUSES = [
    "404 Not Found",
    "429 Too Many Requests",
    "503 Service Unavailable",
    "500 X",
    "204 No Content",
    "307 X",
    "999 X",
]


def usage(draw: random.Random) -> Any:
    if draw.random() < 0.05:
        return draw.choice([None, [], "x", 7, {}])
    return {key: draw.choice(_COUNTS) for key in ("prompt_tokens", "completion_tokens", "total_tokens")}


def choice(draw: random.Random) -> Any:
    if draw.random() < 0.01:
        return draw.choice([None, 7, "x", [], {}])
    text = draw.choice(_TEXTS) if draw.random() < 0.3 else " a"
    made: dict[str, Any] = {"finish_reason": draw.choice(_REASONS) if draw.random() < 0.1 else None}
    made |= {"index": draw.choice(_INDICES)} if draw.random() < 0.05 else {"index": 0}
    return made | draw.choice([{"text": text}, {"text": text}, {"delta": {"content": text}}])


def chunk(draw: random.Random) -> bytes:
    """An event's data."""
    if draw.random() < 0.03:
        return draw.choice(_DEEP if draw.random() < 0.3 else _NOISE)
    choices: Any = [choice(draw) for _ in range(draw.choice([1, 1, 1, 1, 0, 2]))]
    made: dict[str, Any] = {"choices": choices if draw.random() < 0.97 else draw.choice([None, {}, "abc", 7])}
    if draw.random() < 0.4:
        made["usage"] = usage(draw)
    if draw.random() < 0.03:
        made["error"] = draw.choice(_ERRORS)
    if draw.random() < 0.02:
        made |= draw.choice(
            [{"object": "error"}, {"error_code": 5}, {"detail": "no"}, {"object": 5}, {"message": "m", "code": 1}]
        )
    if draw.random() < 0.02:
        del made["choices"]
    data = json.dumps(made, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
    return data if draw.random() < 0.98 else data[: draw.randrange(len(data))]


def body(draw: random.Random) -> bytes:
    """The body of an answer with status 200: mostly a stream of events, more or less as the standard has them."""
    kind = draw.random()
    if kind < 0.03:
        return draw.choice([b"", b" ", b"<html>gateway</html>", *_DEEP, *_NOISE])
    if kind < 0.08:
        return draw.choice([b"", b"\xef\xbb\xbf", b"\n"]) + chunk(draw)
    end = draw.choice([b"\n", b"\n", b"\r\n", b"\r"])
    made = bytearray(draw.choice([b"", b"", b"", b"\xef\xbb\xbf", end]))
    for _ in range(draw.randrange(6)):
        while draw.random() < 0.1:
            made += draw.choice(_LINES) + end * draw.choice([1, 2])
        made += draw.choice([b"data: ", b"data: ", b"data:"]) + chunk(draw) + end * 2
    if draw.random() < 0.6:
        last = json.dumps({"choices": [{"index": 0, "text": " z", "finish_reason": draw.choice(_REASONS)}]}).encode()
        made += b"data: " + last + end * 2
    made += draw.choice([b"data: [DONE]", b"data: [DONE]", b"data:[DONE] ", b""])
    made += end * draw.choice([0, 1, 2, 2, 2])
    if draw.random() < 0.05:
        made += b": bye" + end * 2
    if made and draw.random() < 0.03:
        made[draw.randrange(len(made))] = draw.randrange(256)
    return bytes(made)


def pieces(draw: random.Random, data: bytes) -> list[bytes]:
    """The same bytes as they may be read."""
    cuts = sorted(draw.randrange(len(data) + 1) for _ in range(draw.randrange(6)))
    edges = [0, *cuts, len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


def http_answer(draw: random.Random) -> list[Step]:
    """A whole answer as a server writes it; none keeps the client waiting."""
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" if draw.random() < 0.1 else b""
    if draw.random() < 0.1:
        return [
            interim
            + draw.choice(
                [b"SSH-2.0\r\n", b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc", b"\x00", b""]
            ),
            CLOSE,
        ]
    if draw.random() < 0.15:
        text = draw.choice([b'{"error":{"message":"slow down"}}', b"<html>no</html>", b"", b"x" * 100_000, *_DEEP])
        status = draw.choice(_STATUSES)
        text = b"" if status.startswith("204") else text
        head = f"HTTP/1.1 {status}\r\nRetry-After: {draw.choice(['1', 'Wed, 21 Oct 2026 07:28:00 GMT', 'x' * 500])}\r\n"
        return [interim + f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text, *draw.choice([[], [CLOSE]])]
    parts, head = pieces(draw, body(draw)), b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    breaks = draw.choice([None, None, None, CLOSE, RESET])
    kept = parts if breaks is None else parts[: draw.randrange(len(parts) + 1)]
    framing = draw.random()
    if framing < 0.6:
        end = draw.choice([b"0\r\n\r\n", b"0\r\nX-Took: 1\r\n\r\n", b"0\r\nContent-Length: 5\r\n\r\n", b"zz\r\n"])
        steps: list[Step] = [interim + head + b"Transfer-Encoding: chunked\r\n\r\n", *map(chunked, kept)]
        return [
            *steps,
            *([end, *([] if end[:1] == b"0" and b"Length" not in end else [CLOSE])] if breaks is None else [breaks]),
        ]
    if framing < 0.8:
        length = b"Content-Length: %d\r\n\r\n" % (sum(map(len, parts)) + (breaks is not None))
        return [interim + head + length, *kept, *([] if breaks is None else [breaks])]
    return [interim + head + b"Connection: close\r\n\r\n", *kept, breaks or CLOSE]
