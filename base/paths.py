"""Paths as people write them, where no shell has expanded them: in a file, in quotes, after `--option=`."""

from __future__ import annotations

import glob
import os
from pathlib import Path


def expand(path: str | Path) -> Path:
    """The path with `~` and `~USER` replaced; as it is where there is no such home."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib's raises where there is no home


def matching(path: str | Path) -> list[Path]:
    """Every path that a pattern such as `runs/*` matches, sorted; an existing or plain path, or a pattern that matches nothing, itself."""
    whole = expand(path)
    if whole.exists() or not glob.has_magic(f"{whole}"):
        return [whole]
    return [Path(found) for found in sorted(glob.glob(f"{whole}", recursive=True))] or [whole]  # noqa: PTH207 - of absolute patterns too
