"""Where the commands print."""

from __future__ import annotations

import sys

from reports.document.console import Console

# Without a terminal rich assumes 80 columns, which cuts the tables.
out = Console(width=None if sys.stdout.isatty() else 150)
err = Console(stderr=True)


def print_line(line: str, console: Console = out) -> None:
    """Print text as it is: no markup, no colours, no line breaks of our own."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)
