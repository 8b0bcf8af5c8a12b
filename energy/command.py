"""A command metered from its start to its end, with the idle power before and after it: what `time` is for seconds.

sampler = start_sampler(modelled_watts_per_core=None, process_ids=list)
found = meter_command(["python", "train.py"], sampler.trace, idle_s=5)
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from base.records import Record
from energy.idle import idle_spread, subtract_idle
from energy.records import EnergyTrace, IdleWindow, WindowEnergy
from energy.window import window_energy

SETTLE_S = 0.3  # after this, every usual counter has moved past a moment
Read = Callable[[int], EnergyTrace]  # the meters' trace from a time of this machine's monotonic clock on


class MeteredCommand(Record):
    """What a command took. Net joules are less the idle power, interpolated between before and after."""

    command: list[str]
    status: int  # as a shell has it: 128 + n if signal n ended it
    wall_s: float
    cpu_s: float  # of it and the children that it waited for
    energy: WindowEnergy
    idle_before: WindowEnergy | None  # None: not measured
    idle_after: WindowEnergy | None


def meter_command(
    words: Sequence[str], read: Read, *, idle_s: float, modelled_watts_per_core: float | None = None
) -> MeteredCommand:
    """Run it with this process's input and output, and wait for it; a Ctrl-C reaches it from the terminal, SIGTERM is passed on.

    Joules are null with the reason where no meter has them, also of a command that runs longer than the meters' history.
    modelled_watts_per_core: an assumption, times the command's CPU seconds, beside measured joules. Raises OSError if it cannot be
    started.
    """
    before = _idle(read, idle_s)
    with _signals_passed_on() as started:
        start_ns = time.monotonic_ns()
        child = subprocess.Popen(list(words))
        started(child.pid)
        _, ended, used = os.wait4(child.pid, 0)
        child.returncode = code = os.waitstatus_to_exitcode(ended)
        end_ns = time.monotonic_ns()
    after = _idle(read, idle_s)
    if after is None:
        time.sleep(SETTLE_S)
    found = window_energy(read(start_ns), start_ns, end_ns)
    if before is not None:
        found = subtract_idle(found, before, after, idle_spread([(before, after)]))
    cpu_s = used.ru_utime + used.ru_stime
    if modelled_watts_per_core is not None:
        basis = f"{modelled_watts_per_core:g} W per core x CPU seconds of the command"
        found = found.model_copy(update={"modelled_joules": modelled_watts_per_core * cpu_s, "modelled_basis": basis})
    return MeteredCommand(
        command=list(words),
        status=code if code >= 0 else 128 - code,
        wall_s=(end_ns - start_ns) / 1e9,
        cpu_s=cpu_s,
        energy=found,
        idle_before=before and before.whole,
        idle_after=after and after.whole,
    )


def _idle(read: Read, seconds: float) -> IdleWindow | None:
    """Power at rest, from now on; None without a meter, or if no time is given to it."""
    if not seconds or not read(time.monotonic_ns()).meters:
        return None
    start = time.monotonic_ns()
    time.sleep(seconds + SETTLE_S)
    end = start + round(seconds * 1e9)
    trace = read(start)
    return IdleWindow(
        whole=window_energy(trace, start, end),
        first_half_joules=window_energy(trace, start, (start + end) // 2).gross_joules,
    )


@contextmanager
def _signals_passed_on() -> Iterator[Callable[[int], None]]:
    """While this lasts, Ctrl-C is the command's, which has it from the terminal, and SIGTERM is sent on to it.

    Handlers, and not "ignore", since a command would inherit that. Outside of the main thread nothing is changed.
    """
    children: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGTERM and children:
            os.kill(children[0], number)

    if threading.current_thread() is not threading.main_thread():
        yield children.append
        return
    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield children.append
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
