"""The output folder: one writer at a time, `.partial` until finished, and no leftovers after a failure."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from base.files import sync
from pruner.errors import PruneError
from pruner.output.layout import Layout
from pruner.scoring.criteria import criterion_choices

_PARTIAL = ".partial"
_WORK = "calibration-"


def refuse_inside(output: Path, source: Path) -> None:
    """Raises PruneError if writing to `output` would change the source checkpoint."""
    inner, outer = output.resolve(), source.resolve()
    if inner == outer or outer in inner.parents:
        raise PruneError(f"--output {output}: lies in the source checkpoint; choose a folder outside of it")


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Lock `output` and remove the leftovers of killed runs; in the end, remove it if it is new and still empty.

    The lock is on the folder itself, so that it ends with the process and leaves no file.
    """
    new = not output.exists()
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
            _remove_partial(output)  # of a failure; finished folders have been renamed
            for folder in _work_folders(output):
                _remove_empty(folder)
            if new:
                with suppress(OSError):  # not empty
                    output.rmdir()
    finally:
        os.close(descriptor)


def _remove_partial(output: Path) -> None:
    names = "|".join(map(re.escape, criterion_choices()))
    ours = re.compile(rf"(?:((?:{names})-(?:refit-)?)?width-\d+(-layers-\d+)?|layers-\d+)" + re.escape(_PARTIAL))
    for path in output.iterdir():
        if ours.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)


def partial_folder(output: Path, name: str) -> Path:
    """Make the empty folder that is renamed to `name` once it is finished."""
    folder = output / f"{name}{_PARTIAL}"
    folder.mkdir()
    return folder


def work_folder(output: Path, key: str) -> Path:
    """Where calibration keeps what it has computed so far. Another prune's is removed; nothing is made yet.

    It outlives a run that was stopped, so that the same command resumes; `remove_work` ends it.
    """
    for folder in _work_folders(output):
        if folder.name != f"{_WORK}{key[:16]}{_PARTIAL}":
            shutil.rmtree(folder)
    return output / f"{_WORK}{key[:16]}{_PARTIAL}"


def remove_work(output: Path) -> None:
    """Remove what calibration kept."""
    for folder in _work_folders(output):
        shutil.rmtree(folder)


def _remove_empty(top: Path) -> None:
    """Remove the folders in which there is no file."""
    for folder, _, _ in os.walk(top, topdown=False):
        with suppress(OSError):  # not empty
            Path(folder).rmdir()


def _work_folders(output: Path) -> list[Path]:
    return [path for path in output.glob(f"{_WORK}*{_PARTIAL}") if path.is_dir() and not path.is_symlink()]


def finish(partial: Path) -> Path:
    """Give a verified folder its final name."""
    final = partial.with_name(partial.name.removesuffix(_PARTIAL))
    partial.rename(final)
    sync(final.parent)
    return final


def sync_folders(top: Path) -> None:
    """Fsync `top` and every folder below it, so that no name is lost."""
    for folder, _, _ in os.walk(top):
        sync(Path(folder))


def require_space(output: Path, layouts: Iterable[Layout]) -> tuple[int, int]:
    """Bytes to write, manifests aside, and bytes free.

    Raises PruneError, with both figures, if the disk cannot hold the layouts.
    """
    needed = 0
    for layout in layouts:
        folder = layout.checkpoint.folder
        needed += sum(layout.shard_sizes.values()) + sum(
            (folder / path).stat().st_size for path in layout.checkpoint.companions
        )
    free = shutil.disk_usage(output).free
    if needed > free:
        raise PruneError(f"--output {output}: {needed:,} bytes are needed, {free:,} are free on that disk")
    return needed, free
