"""JSON of megabytes, written and sent one slice at a time: `json.dumps` holds Python's lock until it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_SCALARS = 2048  # members of a list of scalars that are written in one call
_CONTAINERS = 32  # the same of a list of lists or objects
_CHARACTERS = 65_536  # of a string that are written in one call
_BYTES = 65_536  # of a body that are sent in one call, or a little more


@dataclass(frozen=True, slots=True)
class Written:
    """JSON that is already serialised, in parts."""

    parts: Sequence[str]


def written_list(slices: Iterable[str]) -> Written:
    """The list whose members are in the slices, each of them as JSON writes it between the brackets."""
    parts = ["["]
    for members in filter(None, slices):
        if len(parts) > 1:
            parts.append(", ")
        parts.append(members)
    return Written([*parts, "]"])


def json_parts(value: Any) -> Iterator[str]:
    """What `json.dumps` returns, in parts; `value` may be Written, and so may be members of its objects."""
    if isinstance(value, Written):
        yield from value.parts
    elif isinstance(value, dict):
        before = "{"
        for key, member in value.items():
            yield f"{before}{json.dumps(key)}: "
            yield from json_parts(member)
            before = ", "
        yield "}" if value else "{}"
    elif isinstance(value, list) and len(value) > _CONTAINERS:
        length = _CONTAINERS if isinstance(value[-1], dict | list) else _SCALARS
        yield from written_list(json.dumps(value[at : at + length])[1:-1] for at in range(0, len(value), length)).parts
    elif isinstance(value, str) and len(value) > _CHARACTERS:
        yield '"'
        for at in range(0, len(value), _CHARACTERS):
            yield json.dumps(value[at : at + _CHARACTERS])[1:-1]
        yield '"'
    else:
        yield json.dumps(value)


def json_text(value: Any) -> str:
    """The parts as one text."""
    return "".join(json_parts(value))


def body_slices(parts: Iterable[str]) -> list[bytes]:
    """The parts as a body that can be sent in slices."""
    slices: list[bytes] = []
    gathered: list[str] = []
    length = 0
    for part in parts:
        gathered.append(part)
        length += len(part)
        if length >= _BYTES:
            slices.append("".join(gathered).encode())
            gathered, length = [], 0
    return [*slices, "".join(gathered).encode()]


class JsonResponse(Response):
    """A body of JSON that lets other requests run, and its client read, between its slices."""

    media_type = "application/json"

    def __init__(self, slices: Sequence[bytes]) -> None:
        super().__init__(headers={"content-length": str(sum(map(len, slices)))})
        self._slices = slices

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI has it
        """The ASGI side."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        *before, last = self._slices
        for body in before:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await asyncio.sleep(0)  # the connection gathers what is written in one round of the loop
        await send({"type": "http.response.body", "body": last, "more_body": False})
