"""The environment variables as a test found them, and what it has changed since."""

from __future__ import annotations

import os


def environment() -> dict[str, str]:
    """All variables, without pytest's note of the test that runs."""
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


_AT_START = environment()


def begin_test() -> None:
    """What a test changes of the environment is what it changes from here on; libraries change it too, as they are imported."""
    _AT_START.clear()
    _AT_START.update(environment())


def was_changed() -> bool:
    """Whether the test has changed any variable."""
    return environment() != _AT_START
