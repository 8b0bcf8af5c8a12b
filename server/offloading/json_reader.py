"""JSON of megabytes, read one slice at a time: `from_json` holds Python's lock until the whole of its input is read.

A container that is longer than a slice is cut at the last comma between its members that the slice holds; each piece, within the
container's brackets, is JSON for `from_json`. A member that is longer than a slice is read in the same way.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from pydantic_core import from_json

_SLICE = 32_768  # bytes, read in well below 1 ms
_DEEPEST = 16  # containers longer than a slice within each other
_SPACE = re.compile(rb"[ \t\n\r]*+")
_KEY = re.compile(rb'("(?:[^"\\]++|\\.)*+")[ \t\n\r]*+:[ \t\n\r]*+', re.DOTALL)
_SCALAR = re.compile(rb"[^,\]}\s]*+")  # a number or a word
_CLOSER = {b"[": b"]", b"{": b"}"}


def read_json(body: bytes) -> Any:
    """As `from_json`, in slices. Raises ValueError for what is not JSON, or has large containers nested more than 16 deep."""
    if len(body) <= _SLICE:
        return from_json(body)
    value, end = _value(body, _after_space(body, 0), 0)
    if (end := _after_space(body, end)) < len(body):
        raise ValueError(f"trailing characters at byte {end}")
    return value


def _value(body: bytes, at: int, depth: int) -> tuple[Any, int]:
    """The value that begins there, and where it ends."""
    first = body[at : at + 1]
    if first in _CLOSER:
        return _container(body, at, depth)
    end = _end_of_string(body, at) if first == b'"' else _SCALAR.match(body, at).end()  # type: ignore[union-attr]
    return _parsed(body[at:end], at), end


def _container(body: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth == _DEEPEST:
        raise ValueError(f"containers that are longer than {_SLICE} bytes are nested too deep at byte {at}")
    opener = body[at : at + 1]
    closer = _CLOSER[opener]
    members: Any = [] if opener == b"[" else {}
    add = members.extend if opener == b"[" else members.update
    at = _after_space(body, at + 1)
    is_first = True
    while True:
        end = _cut(body, at)
        if end is None:
            added, end = _member(body, at, depth, is_keyed=opener == b"{")
        else:
            added = _parsed(opener + body[at:end] + closer, at)
            if not added and not (is_first and body[end : end + 1] == closer):
                raise ValueError(f"expected a value at byte {at}")
        add(added)
        if body[end : end + 1] == closer:
            return members, end + 1
        if body[end : end + 1] != b",":
            raise ValueError(f"expected `,` or `{closer.decode()}` at byte {end}")
        at, is_first = _after_space(body, end + 1), False


def _member(body: bytes, at: int, depth: int, *, is_keyed: bool) -> tuple[Any, int]:
    """One long member, as what it adds to its container, and where it ends."""
    if not is_keyed:
        value, end = _value(body, at, depth + 1)
        return [value], _after_space(body, end)
    key = _KEY.match(body, at)
    if key is None:
        raise ValueError(f"expected a key at byte {at}")
    value, end = _value(body, key.end(), depth + 1)
    return {_parsed(key[1], at): value}, _after_space(body, end)


def _cut(body: bytes, at: int) -> int | None:
    """Where the container's members can be parted, from `at` on: at its end or at the last comma within a slice.

    None where the first member is longer than the slice.
    """
    codes = np.frombuffer(_without_escapes(body[at : at + _SLICE]), np.uint8)
    outside = np.cumsum(codes == ord('"'), dtype=np.int32) & 1 == 0
    folded = codes | 0x20  # [ as {, and ] as }
    opened, closed = ((folded == code) & outside for code in (ord("{"), ord("}")))
    depth = np.cumsum(opened.view(np.int8) - closed.view(np.int8), dtype=np.int32)
    if (ends := np.flatnonzero(depth < 0)).size:
        return at + int(ends[0])
    commas = np.flatnonzero((codes == ord(",")) & outside & (depth == 0))
    return at + int(commas[-1]) if commas.size else None


def _end_of_string(body: bytes, at: int) -> int:
    at += 1
    while at < len(body):
        piece = body[at : at + _SLICE]
        masked = _without_escapes(piece)
        if (end := masked.find(b'"')) != -1:
            return at + end + 1
        is_split = masked.endswith(b"\\") and len(piece) > 1  # the escape at its end
        at += len(piece) - is_split
    return len(body)


def _without_escapes(piece: bytes) -> bytes:
    """With as many bytes, of which each `"` begins or ends a string."""
    return piece.replace(b"\\\\", b"__").replace(b'\\"', b"__") if b"\\" in piece else piece


def _parsed(piece: bytes, at: int) -> Any:
    try:
        return from_json(piece)
    except ValueError as error:
        raise ValueError(f"{error}, counted from byte {at}") from None


def _after_space(body: bytes, at: int) -> int:
    return _SPACE.match(body, at).end()  # type: ignore[union-attr]
