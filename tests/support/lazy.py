"""Libraries that few tests use and that take seconds to import, which every process of the tests would else do as it collects."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Lazy:
    """A module that is imported when something in it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # pytest asks every value in a module for these
            raise AttributeError(name)
        return getattr(import_module(self._name), name)
