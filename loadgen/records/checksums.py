"""The sha256 of a trial's files: written beside them, and verified before they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

SUMS_NAME = "SHA256SUMS"


def sums_file(sha256: Mapping[str, str]) -> dict[str, str]:
    """The seal of a trial that stands alone."""
    return {SUMS_NAME: "".join(f"{digest}  {name}\n" for name, digest in sha256.items())}


def read_sums(folder: Path) -> dict[str, str] | None:
    """Sha256 by file name from `SHA256SUMS`; None for a trial without one. Raises OSError or ValueError."""
    file = folder / SUMS_NAME
    if not file.exists():
        return None
    lines = [line.partition("  ") for line in file.read_text("ascii").splitlines()]
    if not all(name and len(digest) == 64 for digest, _, name in lines):
        raise ValueError(f"{SUMS_NAME} is no list of sha256 and names")
    return {name: digest for digest, _, name in lines}


def find_changed(folder: Path, sha256: Mapping[str, str]) -> str | None:
    """The first file that is missing or is not as it was written, and which of the two; None: all are whole."""
    for name, digest in sha256.items():
        try:
            if file_sha256(folder / name) != digest:
                return f"{folder / name}: has changed since it was written: its sha256 differs"
        except FileNotFoundError:
            return f"{folder / name}: is missing"
        except OSError as error:
            return f"{folder / name}: cannot be read: {error.strerror}"
    return None


def file_sha256(file: Path) -> str:
    """Of its content, in hexadecimal digits. Raises OSError."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
