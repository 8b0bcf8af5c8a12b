from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from base.errors import UserError


class PruneError(UserError):
    """Something the user can mend: one line that names the flag, file, key or tensor."""


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """What the operating system refuses, as a PruneError that names the file, or `place` if it names none."""
    try:
        yield
    except OSError as error:
        raise PruneError(f"{error.filename or place}: {error.strerror or error}") from error
