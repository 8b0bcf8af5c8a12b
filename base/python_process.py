"""Python processes that we start. None of them imports from the working folder, whose files are not ours."""

from __future__ import annotations

import os
import sys


def python_command(*words: str) -> list[str]:
    """The command line that runs this interpreter with `words`, as `-m MODULE`, and without the working folder on its path."""
    return [sys.executable, "-P", *words]


def keep_safe_path() -> None:
    """Keep the working folder off the path of every Python that starts below this process: those of libraries too."""
    os.environ["PYTHONSAFEPATH"] = "1"
