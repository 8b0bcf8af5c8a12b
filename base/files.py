"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from base.records import Record


def write_bytes(file: Path, content: bytes) -> None:
    """Write and fsync a `.partial` neighbour, then rename it: a reader has the old file or the new one. Raises OSError."""
    partial = file.with_name(f"{file.name}.partial")
    try:
        with partial.open("wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        partial.replace(file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(file: Path, text: str) -> None:
    """Write text as UTF-8, as `write_bytes` does."""
    write_bytes(file, text.encode())


def write_record(file: Path, record: Record) -> None:
    """Write a record as JSON, as `write_bytes` does."""
    write_text(file, record.model_dump_json(indent=1) + "\n")


def write_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write the files of a `.partial` neighbour, fsync them, then rename the folder once.

    An existing folder of that name stays until then, and is renamed before it is removed.
    """
    partial, old = (folder.with_name(folder.name + ending) for ending in (".partial", ".old.partial"))
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        fill(partial)
        for path in [*partial.iterdir(), partial]:
            sync(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # on a full disk, make room for everything else
        raise
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def sync(path: Path) -> None:
    """Fsync a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
