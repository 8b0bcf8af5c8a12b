"""A command metered from its start to its end, with the idle power before and after it: what `time` is for seconds."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType

from base.records import Record
from energy.idle import idle_spread, subtract_idle
from energy.records import WindowEnergy
from loadgen.energy.source import LEAD_IN_S, EnergySource, measure_idle_in_halves


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
    words: Sequence[str], source: EnergySource, *, idle_s: float, modelled_watts_per_core: float | None = None
) -> MeteredCommand:
    """Run it with this process's input and output, and wait for it; a Ctrl-C reaches it from the terminal, SIGTERM is passed on.

    Joules are null with the reason where no meter has them, also of a command that runs longer than the meters' history.
    modelled_watts_per_core: an assumption, times the command's CPU seconds, beside measured joules. Raises OSError if it cannot be
    started.
    """
    rests = source.measures and idle_s > 0
    if source.measures:
        time.sleep(LEAD_IN_S)
    before = measure_idle_in_halves(source, idle_s) if rests else None
    start_ns = time.monotonic_ns()
    child = subprocess.Popen(list(words))
    with _signals_passed_on(child.pid):
        _, ended, used = os.wait4(child.pid, 0)
    end_ns = time.monotonic_ns()
    child.returncode = code = os.waitstatus_to_exitcode(ended)
    found = source.over(start_ns, end_ns)
    after = measure_idle_in_halves(source, idle_s) if rests else None
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


@contextlib.contextmanager
def _signals_passed_on(process_id: int) -> Iterator[None]:
    """While this lasts, Ctrl-C is the command's, which has it from the terminal, and SIGTERM is sent on to it.

    Outside of the main thread, where Python takes no handlers, nothing is changed.
    """

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(process_id, number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
