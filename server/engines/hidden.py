"""Importing a library without packages that it imports wherever they are installed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Let Python take the packages for not installed, unless they are imported already."""
    names = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]  # None: what Python does not look for
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
