"""The length of tests that try many random cases: `PRUNEBENCH_LONG=1 python -m pytest FILE` tries all of them, otherwise a few."""

from __future__ import annotations

import os
from typing import TypeVar

import pytest

_T = TypeVar("_T")
LONG = bool(os.environ.get("PRUNEBENCH_LONG"))
long_only = pytest.mark.skipif(not LONG, reason="a longer form of another test: PRUNEBENCH_LONG=1")


def short_or_long(short: _T, long: _T) -> _T:
    """What applies to this run of the tests."""
    return long if LONG else short
