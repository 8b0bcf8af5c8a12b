"""Where the commands print."""

from __future__ import annotations

import re
import sys

from rich.cells import cell_len

from reports.document.console import Console

# Without a terminal rich assumes 80 columns, which cuts the tables.
out = Console(width=None if sys.stdout.isatty() else 150)
err = Console(stderr=True)


_WORD = re.compile(r"[^\s`]*`[^`]*`\S*|\S+")  # what stands between backticks is copied, and stays on one line
_FURTHER = 2  # columns by which further lines are indented


def print_line(line: str, console: Console = out, *, whole: bool = False) -> None:
    """Print text without markup or colours. A terminal gets it wrapped at words, unless `whole`; a log gets one line."""
    if console.is_terminal and not whole:
        line = "\n".join(wrapped(one, console.width) for one in line.split("\n"))
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def wrapped(line: str, width: int) -> str:
    """The line broken before words that would pass `width`; a word that is longer than that, such as a path, is not broken."""
    if cell_len(line) <= width:
        return line
    indent = " " * (len(line) - len(line.lstrip(" ")))
    lines, further = [indent], indent + " " * _FURTHER
    for word in _WORD.findall(line):
        joined = f"{lines[-1]} {word}" if lines[-1].strip() else f"{lines[-1]}{word}"
        if cell_len(joined) <= width or not lines[-1].strip():
            lines[-1] = joined
        else:
            lines.append(further + word)
    return "\n".join(lines)
