"""Reading beside the load: it steps back where both want a core, and ends before an exception goes on."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from loadgen.link.background import in_background


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has a priority of its own on Linux alone")
def test_it_has_a_lower_priority_and_whoever_waits_keeps_theirs():
    before = os.getpriority(os.PRIO_PROCESS, 0)
    inside = in_background(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), lambda: None)
    assert inside == min(19, before + 10)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_an_interrupt_stops_it_and_goes_on_once_it_has_ended(monkeypatch):
    stopped, ended = threading.Event(), threading.Event()

    def work():
        assert stopped.wait(10)
        ended.set()

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("concurrent.futures.Future.result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        in_background(work, stopped.set)
    assert ended.is_set()


def test_what_goes_wrong_in_it_is_raised():
    with pytest.raises(ZeroDivisionError):
        in_background(lambda: 1 / 0, lambda: None)
