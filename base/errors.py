"""The errors that a user can fix."""

from __future__ import annotations


class UserError(Exception):
    """A wrong flag, file, key or machine: one line that names what to fix. The command line prints it and exits with 2.

    A room's own errors derive from it, and need no entry anywhere else.
    """

    def __init__(self, message: str) -> None:
        # Names come from files and servers, and may hold control characters; a message stays one printable line.
        super().__init__("".join(character if character.isprintable() else "?" for character in message))


def describe_os_error(error: OSError) -> str:
    """What the system refused, in one line: a full disk, no permission, too many processes."""
    return f"{f'{error.filename}: ' if error.filename else ''}{error.strerror or error}"
