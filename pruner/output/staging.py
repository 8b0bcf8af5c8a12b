"""The output folder: one writer at a time, `.partial` until finished, nothing left behind by a failure."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pruner.errors import PruneError
from pruner.output.layout import Output

_PARTIAL = ".partial"
_OURS = re.compile(r"width-\d+" + re.escape(_PARTIAL))


def refuse_inside(output: Path, source: Path) -> None:
    """Raises PruneError if writing to `output` would change the source checkpoint."""
    inner, outer = output.resolve(), source.resolve()
    if inner == outer or outer in inner.parents:
        raise PruneError(f"--output {output}: lies in the source checkpoint; choose a folder outside of it")


@contextmanager
def claimed(output: Path) -> Iterator[None]:
    """Have `output` for ourselves and free of what a killed run left; an output folder that stays empty goes again.

    The lock is on the folder itself, so that it ends with the process and leaves no file.
    """
    made = not output.exists()
    output.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(output, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PruneError(f"--output {output}: another prune is writing there") from error
        _remove_partial(output)
        try:
            yield
        finally:
            _remove_partial(output)  # what failed; finished ones have been renamed
            if made:
                with suppress(OSError):  # not empty
                    output.rmdir()
    finally:
        os.close(descriptor)


def _remove_partial(output: Path) -> None:
    for path in output.iterdir():
        if _OURS.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)


def partial_folder(output: Path, name: str) -> Path:
    """A new, empty folder for what will be called `name` once it is finished."""
    folder = output / f"{name}{_PARTIAL}"
    folder.mkdir()
    return folder


def finish(partial: Path) -> Path:
    """Give a verified folder its final name, once and for good."""
    final = partial.with_name(partial.name.removesuffix(_PARTIAL))
    partial.rename(final)
    sync_folder(final.parent)
    return final


def sync_folders(top: Path) -> None:
    """Have the names of everything under `top` on the disk."""
    for folder, _, _ in os.walk(top):
        sync_folder(Path(folder))


def sync_folder(folder: Path) -> None:
    """Have the names in `folder` on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_space(output: Path, outputs: Iterable[Output]) -> tuple[int, int]:
    """Bytes that are planned, manifests aside, and bytes that are free.

    Raises PruneError, with both figures, if the disk cannot hold what is planned.
    """
    needed = 0
    for planned in outputs:
        folder = planned.checkpoint.folder
        needed += sum(planned.shard_sizes.values()) + sum(
            (folder / path).stat().st_size for path in planned.checkpoint.companions
        )
    free = shutil.disk_usage(output).free
    if needed > free:
        raise PruneError(f"--output {output}: {needed:,} bytes are needed, {free:,} are free on that disk")
    return needed, free
