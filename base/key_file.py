"""Reading an API key from a file."""

from __future__ import annotations

from pathlib import Path

from base.errors import UserError


def read_key(file: Path, option: str = "--api-key-file") -> str:
    """The API key in a file, without the spaces around it.

    Raises UserError, naming `option`, for a file that cannot be read, is empty, or holds a key that is not one line of printable ASCII.
    """
    try:
        key = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text"
        raise UserError(f"{option} {file}: {reason}") from None
    if not key:
        raise UserError(f"{option} {file}: is empty")
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"{option} {file}: the key must be one line of ASCII, to travel in a header")
    return key
