"""Lines of a user's text."""

from __future__ import annotations

import re

_END = re.compile(r"\r\n|\r|\n")


def split_lines(text: str) -> list[str]:
    """The lines without their ends, which are LF, CR or CRLF; none for the empty text, and none after the last end.

    `str.splitlines` also ends a line at U+2028, U+0085 and form feeds, which stand inside JSON strings and cells of tables.
    """
    lines = _END.split(text)
    return lines if lines[-1] else lines[:-1]
