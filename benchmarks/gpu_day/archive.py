"""`results.tar.gz`: everything that was measured, as far as it fits, written whole each time. Only the standard library."""

from __future__ import annotations

import io
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

LIMIT_BYTES = 15 * 2**20
STAGES = "stages.json"
SCRATCH = "scratch"  # checkpoints and wheels: in the working folder, never in the archive
_HEADER_BYTES = 1024  # at most, of a member's name and times, compressed
_TOO_LARGE = 2**26  # not even read


@dataclass(frozen=True)
class LeftOut:
    """A file for which there was no room."""

    file: str
    bytes: int


def files_below(folder: Path) -> Iterator[Path]:
    """All files that are results, in the order of their names."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if Path(root, name) != folder / SCRATCH)
        for path in (Path(root, name) for name in sorted(names)):
            if path.is_file() and not path.is_symlink():
                yield path


def write_archive(
    target: Path, folder: Path, stages: Callable[[Sequence[LeftOut]], str], limit: int = LIMIT_BYTES
) -> list[LeftOut]:
    """Write `stages.json` and what is below `folder`, small files first, into at most `limit` bytes; returns what is left out.

    stages: the content of `stages.json`, given what is left out. A reader of `target` has the old archive or the new one.
    """
    room = limit - 8 * _HEADER_BYTES - _packed(stages([]).encode())
    taken: list[tuple[str, bytes]] = []
    left_out: list[LeftOut] = []
    for path in sorted(files_below(folder), key=_size):
        name, size = f"{path.relative_to(folder)}", _size(path)
        content = _read(path) if size <= _TOO_LARGE else b""
        cost = _HEADER_BYTES + _packed(content)
        if size > _TOO_LARGE or cost > room:
            left_out.append(LeftOut(name, size))
            room -= _HEADER_BYTES  # its line in stages.json
        else:
            taken.append((name, content))
            room -= cost
    partial = target.with_name(f"{target.name}.partial")
    with partial.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as archive:
            for name, content in [(STAGES, stages(left_out).encode()), *sorted(taken)]:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(target)
    return left_out


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read(path: Path) -> bytes:
    """Its content; nothing of a file that is gone by now."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _packed(content: bytes) -> int:
    """No fewer bytes than it takes in the archive, which is packed better."""
    return len(zlib.compress(content, 1))
