"""The texts of held-out perplexity: files, or `stdlib:NAME` for a file of this Python's standard library."""

from __future__ import annotations

import sysconfig
from pathlib import Path

STDLIB_PREFIX = "stdlib:"


def read_text(name: str) -> str:
    """The text behind one entry of `quality.perplexity_files`."""
    return text_path(name).read_text("utf-8", errors="replace")


def text_path(name: str) -> Path:
    """Where an entry of `quality.perplexity_files` is on this machine."""
    if name.startswith(STDLIB_PREFIX):
        return Path(sysconfig.get_paths()["stdlib"]) / name.removeprefix(STDLIB_PREFIX)
    return Path(name)
