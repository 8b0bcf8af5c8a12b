"""What the environment asks of output on a terminal."""

from __future__ import annotations

import os
from typing import IO


def draws_colours() -> bool:
    """Whether neither NO_COLOR, CI nor TERM=dumb asks for text without escape codes; FORCE_COLOR outweighs the last two."""
    return not os.environ.get("NO_COLOR") and (bool(os.environ.get("FORCE_COLOR")) or not _is_plain())


def draws_bars(stream: IO[str]) -> bool:
    """Whether bars may be drawn there: it is a terminal, and neither NO_COLOR, CI nor TERM=dumb asks for lines."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and not _is_plain()


def _is_plain() -> bool:
    return os.environ.get("CI", "") not in {"", "0", "false"} or os.environ.get("TERM") == "dumb"
