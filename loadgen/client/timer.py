"""Waking at a moment, to a tenth of a millisecond: libuv's own timers count whole milliseconds and may fire early.

Linux's timerfd (man 2 timerfd_create) by way of ctypes; Python's own `os.timerfd_create` comes with 3.13.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable
from typing import Self

_ABSOLUTE = 1  # TFD_TIMER_ABSTIME


class _Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Setting(ctypes.Structure):
    _fields_ = [("interval", _Timespec), ("first", _Timespec)]


class Clockwork:
    """A timerfd on the running loop that calls `ring` when it fires."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        # TFD_NONBLOCK and TFD_CLOEXEC have the values of the flags of open().
        self._fd = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        self._check(self._fd)
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read)

    def wind(self, first_ns: int, every_ns: int = 0) -> None:
        """Fire at `first_ns` of `time.monotonic_ns`, then every `every_ns`; 0 disarms."""
        setting = _Setting(_Timespec(*divmod(every_ns, 10**9)), _Timespec(*divmod(first_ns, 10**9)))
        self._check(self._libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(setting), None))

    def close(self) -> None:
        """Disarm and close it."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _read(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # it was armed again since the loop saw it
        self._ring()

    @staticmethod
    def _check(result: int) -> None:
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Timer:
    """One sleeper at a time, on the running loop. Use as a context manager."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._clockwork = Clockwork(self._rung.set)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clockwork.close()

    async def until(self, ns: int) -> None:
        """Return at a moment of `time.monotonic_ns`, never before it; immediately if it has passed."""
        if ns <= time.monotonic_ns():
            return
        self._rung.clear()
        self._clockwork.wind(ns)
        await self._rung.wait()
