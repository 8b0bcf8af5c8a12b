"""The pruner's error for its users, and how OSErrors become one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from base.errors import UserError


class PruneError(UserError):
    """An error that the user can fix: one line that names the flag, file, key or tensor."""


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Raise an OSError as a PruneError that names its file, or `place` if it has none."""
    try:
        yield
    except OSError as error:
        raise PruneError(f"{error.filename or place}: {error.strerror or error}") from error
