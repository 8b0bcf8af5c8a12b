from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class PruneError(Exception):
    """Something the user can mend: one line that names the flag, file, key or tensor."""

    def __init__(self, message: str) -> None:
        # Names come from files that may be damaged; whatever they hold, a message stays one line that a terminal can show.
        super().__init__("".join(character if character.isprintable() else "?" for character in message))


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """What the operating system refuses, as a PruneError that names the file, or `place` if it names none."""
    try:
        yield
    except OSError as error:
        raise PruneError(f"{error.filename or place}: {error.strerror or error}") from error
