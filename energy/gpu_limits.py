"""Power limits and locked clocks of this machine's GPUs, set for a while and always restored.

A guardian process sets them and puts back what it found: when it is asked to, when it gets SIGTERM, and when the process that
started it is gone, however it ended. It has a session of its own, so that no signal to a terminal or a group reaches it. NVML
does not say which clocks were locked before: after a lock they are unlocked.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import dataclass
from types import FrameType
from typing import Any

import pynvml

from base.errors import UserError
from base.python_process import python_command
from base.records import Record
from energy.meters.nvidia.gpus import find_gpus

_END_S = 20.0
_NO_RIGHT = "this user may not set it, which takes root, and in a container the right to administer the GPU"


class GpuLimitError(UserError):
    """A limit cannot be set; one line that names the key and the GPU."""


class GpuLimits(Record):
    """What holds for every GPU in use; None: as it was found."""

    power_limit_w: float | None = None
    clock_mhz: int | None = None


class GpuLimiter:
    """Sets limits through a guardian, which starts with the first that is set; `close` restores."""

    def __init__(self) -> None:
        self._guardian: subprocess.Popen[str] | None = None
        self._current = GpuLimits()

    def set(self, wanted: GpuLimits) -> None:
        """Set these limits on every GPU, and verify them. Raises GpuLimitError; then all are as they were found."""
        if wanted == self._current:
            return
        if self._guardian is None:
            self._guardian = subprocess.Popen(
                python_command("-m", "energy.gpu_limits"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        answer = _ask(self._guardian, wanted)
        self._current = GpuLimits() if answer else wanted
        if answer:
            raise GpuLimitError(answer)

    def close(self) -> None:
        """Restore everything and end the guardian."""
        if self._guardian is not None:
            self._guardian.communicate(timeout=_END_S)
            self._guardian, self._current = None, GpuLimits()


def _ask(guardian: subprocess.Popen[str], wanted: GpuLimits) -> str:
    """The guardian's answer: why the limits are not set; empty if they are."""
    assert guardian.stdin is not None  # noqa: S101 - both are pipes
    assert guardian.stdout is not None  # noqa: S101
    with contextlib.suppress(BrokenPipeError):
        guardian.stdin.write(wanted.model_dump_json() + "\n")
        guardian.stdin.flush()
    line = guardian.stdout.readline()
    return json.loads(line) if line else "power_limit_w, clock_mhz: the process that sets them has ended"


@dataclass
class _Gpu:
    """One GPU with the power limit that it was found with."""

    name: str
    handle: Any
    found_mw: int
    is_capped: bool = False
    is_locked: bool = False

    def set(self, wanted: GpuLimits) -> None:
        """Raises GpuLimitError."""
        if wanted.power_limit_w is not None:
            self._cap(round(wanted.power_limit_w * 1e3))
        elif self.is_capped:
            self._call("power_limit_w", lambda: pynvml.nvmlDeviceSetPowerManagementLimit(self.handle, self.found_mw))
            self.is_capped = False
        if wanted.clock_mhz is not None:
            clock = wanted.clock_mhz
            self._call("clock_mhz", lambda: pynvml.nvmlDeviceSetGpuLockedClocks(self.handle, clock, clock))
            self.is_locked = True
        elif self.is_locked:
            self._call("clock_mhz", lambda: pynvml.nvmlDeviceResetGpuLockedClocks(self.handle))
            self.is_locked = False

    def _cap(self, limit_mw: int) -> None:
        low, high = self._call(
            "power_limit_w", lambda: pynvml.nvmlDeviceGetPowerManagementLimitConstraints(self.handle)
        )
        if not low <= limit_mw <= high:
            raise GpuLimitError(f"power_limit_w: {self.name} takes {low / 1e3:g} to {high / 1e3:g} W")
        self.is_capped = True
        self._call("power_limit_w", lambda: pynvml.nvmlDeviceSetPowerManagementLimit(self.handle, limit_mw))
        now_mw = self._call("power_limit_w", lambda: pynvml.nvmlDeviceGetPowerManagementLimit(self.handle))
        if now_mw != limit_mw:
            raise GpuLimitError(
                f"power_limit_w: {self.name} has {now_mw / 1e3:g} W after it was set to {limit_mw / 1e3:g}"
            )

    def _call(self, key: str, call: Any) -> Any:
        try:
            return call()
        except pynvml.NVMLError as error:
            denied = error.value == pynvml.NVML_ERROR_NO_PERMISSION
            raise GpuLimitError(f"{key}: {self.name}: {_NO_RIGHT if denied else error}") from None


def _gpus() -> list[_Gpu]:
    """The GPUs in use. Raises GpuLimitError if one cannot be limited."""
    meters, missing = find_gpus()
    if missing or not meters:
        why = missing[0].reason if missing else "there is no GPU"
        raise GpuLimitError(f"power_limit_w, clock_mhz: {why}")
    found = []
    for facts in (meter.facts for meter in meters):
        name = f"{facts.name} ({facts.uuid})"
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(facts.index)
            found.append(_Gpu(name, handle, int(pynvml.nvmlDeviceGetPowerManagementLimit(handle))))
        except pynvml.NVMLError as error:
            raise GpuLimitError(f"power_limit_w, clock_mhz: {name}: {error}") from None
    return found


def _restore(gpus: list[_Gpu]) -> None:
    for gpu in gpus:
        with contextlib.suppress(GpuLimitError):  # a GPU that is lost must not keep the others from it
            gpu.set(GpuLimits())


def _serve(gpus: list[_Gpu], parent: int) -> None:
    """Answer each line of stdin, a GpuLimits, with a line of JSON, until it ends or the parent does."""
    poll = select.poll()
    poll.register(sys.stdin, select.POLLIN | select.POLLHUP)
    poll.register(parent, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        line = "" if parent in ready else sys.stdin.readline()
        if not line:
            return
        answer = ""
        try:
            gpus += [] if gpus else _gpus()
            for gpu in gpus:
                gpu.set(GpuLimits.model_validate_json(line))
        except GpuLimitError as error:
            answer = f"{error}"
            _restore(gpus)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Be the guardian of the process that started this one."""
    parent = os.getppid()
    watched = os.pidfd_open(parent)

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gpus: list[_Gpu] = []
    try:
        if os.getppid() == parent:
            _serve(gpus, watched)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _restore(gpus)


if __name__ == "__main__":
    main()
