"""What a terminal was sent, as lines of text."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def lines_of(sent: str) -> list[str]:
    """Every line that was drawn, also those that were drawn over."""
    return [line for line in re.split(r"[\r\n]+", _CONTROL.sub("", sent)) if line]
