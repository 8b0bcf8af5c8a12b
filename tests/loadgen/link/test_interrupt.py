from __future__ import annotations

import signal
import sys
import threading
import time

import pytest

from loadgen.link import interrupt as module
from loadgen.link.interrupt import Interrupt, raise_lost_interrupts


def test_the_first_ctrl_c_is_noted_and_the_second_raises():
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        interrupt.note()
        signal.raise_signal(signal.SIGINT)
        assert interrupt.came
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_until_it_is_to_be_noted_ctrl_c_raises():
    with Interrupt() as interrupt, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert not interrupt.came


def test_where_ctrl_c_is_ignored_it_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            interrupt.note()
            signal.raise_signal(signal.SIGINT)
            assert not interrupt.came
            assert interrupt.bounded(lambda: 7, 0) == 7
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_call_that_hangs_is_left_behind_after_ctrl_c(monkeypatch):
    monkeypatch.setattr(module, "_CLOSING_S", 0.2)
    never = threading.Event()
    with Interrupt() as interrupt:
        interrupt.note()
        threading.Timer(0.1, signal.raise_signal, [signal.SIGINT]).start()
        assert interrupt.bounded(never.wait, None) is None
        assert interrupt.bounded(lambda: 7, 0) == 0  # nothing more is begun
    never.set()


def test_what_a_call_returns_or_raises_comes_through():
    def fails():
        raise ValueError("no")

    with Interrupt() as interrupt:
        interrupt.note()
        assert interrupt.bounded(lambda: 7, 0) == 7
        signal.raise_signal(signal.SIGINT)
        assert interrupt.bounded(lambda: 8, 0) == 8
        with pytest.raises(ValueError, match="no"):
            interrupt.bounded(fails, None)


class PressesCtrlCWhileItIsFinalized:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        time.sleep(0)  # the exception comes here, and cannot leave a finalizer


def test_a_ctrl_c_that_comes_inside_a_finalizer_still_raises(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    raise_lost_interrupts()

    def work():
        PressesCtrlCWhileItIsFinalized()
        time.sleep(30)

    with pytest.raises(KeyboardInterrupt):
        work()


def test_other_exceptions_of_finalizers_are_reported_as_before(monkeypatch):
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    raise_lost_interrupts()

    class Fails:
        def __del__(self):
            raise ValueError("no")

    Fails()
    assert [lost.exc_type for lost in reported] == [ValueError]
