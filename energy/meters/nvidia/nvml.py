"""One NVIDIA GPU as a meter, through the vendor's own nvidia-ml-py (module `pynvml`).

Field ids, scopes and return codes as in the NVML API reference; scope 0 is the GPU alone, without a module's CPU. NVML reports
millijoules and milliwatts; this file returns joules and watts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from ctypes import byref, c_ulonglong
from dataclasses import dataclass
from typing import Any

import pynvml

from energy.meters.base import MeterLost, Reading
from energy.meters.nvidia.answers import first_answer, watts_of
from energy.meters.nvidia.processes import Neighbours, clients_of_mps
from energy.meters.nvidia.samples import VALUE_MEMBERS, PowerSamples
from energy.records import Conditions, GpuFacts, Kind, MeterInfo

FIELD_ENERGY, FIELD_POWER_INSTANT, SCOPE_GPU, SCOPE_MODULE = 83, 186, 0, 1
SILENT_S = 30.0  # a GPU that has not answered for longer is lost; before that, failed reads are gaps
FATAL = {1: "NVML was shut down", 15: "the GPU is lost", 16: "the GPU needs a reset"}

# Reasons for throttling. Idle, user-set clocks, sync boost and display limits are choices, not throttling.
_THROTTLING = {0x04: "power-cap", 0x08: "hw-slowdown", 0x20: "sw-thermal", 0x40: "hw-thermal", 0x80: "power-brake"}

_VIRTUAL = {1: "passed through to this virtual machine", 2: "a virtual GPU"}

Call = Callable[[], float]


@dataclass(frozen=True)
class NvmlSource:
    """One way to read energy or power from a GPU: `read` makes a call of a handle; it is None for the driver's buffer of samples."""

    name: str  # as `MeterInfo.source`
    words: str
    kind: Kind
    lag_s: float
    read: Callable[[Any], Call] | None
    whole_module: bool = False


class NvmlMeter:
    """One GPU: joules from its best source, and the power that it reports beside them."""

    def __init__(
        self,
        facts: GpuFacts,
        source: NvmlSource,
        handle: Any,
        read: Call | PowerSamples,
        power: Call | None,
        *,
        own_processes: Callable[[], list[int]],
    ) -> None:
        """`read` gives joules if the source is a counter and watts otherwise; `power` is the counter's cross-check."""
        self.facts = facts
        self._source = source
        refresh_s = read.period_s if isinstance(read, PowerSamples) else None
        self.info = MeterInfo(
            source=source.name,
            domain="gpu",
            device=facts.uuid,
            name=facts.name,
            kind=source.kind,
            lag_s=source.lag_s,
            refresh_s=refresh_s,
            gpu=facts,
        )
        self._handle = handle
        self._power = power
        self._take: Callable[[int], Reading]
        if isinstance(read, PowerSamples):
            self._take = read.take
        else:
            self._read = read
            self._take = self._take_power if source.kind == "power" else self._take_counter
        self._neighbours = Neighbours(handle, own_processes)
        self._answered_ns = time.monotonic_ns()

    def read(self) -> Reading:
        """One reading. A transient error is retried once immediately, then is a gap until the next tick.

        Raises MeterLost if the GPU is lost, or silent for 30 s.
        """
        before = time.monotonic_ns()
        try:
            reading = self._take(before)
        except pynvml.NVMLError as error:
            return self._again(error)
        self._answered_ns = before
        return reading

    def _again(self, error: Any) -> Reading:
        self._judge(error, time.monotonic_ns())
        before = time.monotonic_ns()
        try:
            reading = self._take(before)
        except pynvml.NVMLError as again:
            after = time.monotonic_ns()
            self._judge(again, after)
            return Reading(before, after, error=str(again))
        self._answered_ns = before
        return reading

    def _take_counter(self, before: int) -> Reading:
        joules = self._read()
        after = time.monotonic_ns()
        try:
            return Reading(before, after, joules, None if self._power is None else self._power())
        except pynvml.NVMLError:  # power is only the cross-check: without it the counter's reading is still good
            return Reading(before, after, joules)

    def _take_power(self, before: int) -> Reading:
        watts = self._read()
        return Reading(before, time.monotonic_ns(), None, watts)

    def conditions(self) -> Conditions:
        """Clocks in MHz, temperature in degrees Celsius, reasons for throttling, and other processes on this GPU."""
        handle = self._handle
        reasons = first_answer(
            lambda: pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle),
            lambda: pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
        )
        return Conditions(
            at_ns=time.monotonic_ns(),
            device=self.info.device,
            sm_clock_mhz=first_answer(lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM)),
            memory_clock_mhz=first_answer(lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM)),
            temperature_c=first_answer(
                lambda: pynvml.nvmlDeviceGetTemperatureV(handle, pynvml.NVML_TEMPERATURE_GPU),
                lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
            ),
            power_limit_watts=watts_of(first_answer(lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(handle))),
            other_processes=self._neighbours.others(),
            throttle_reasons=None if reasons is None else [name for bit, name in _THROTTLING.items() if reasons & bit],
        )

    def notes(self) -> list[str]:
        """What a careful user would change or know about this GPU, one sentence each."""
        facts, info, name = self.facts, self.info, f"GPU {self.facts.index} ({self.facts.name})"
        notes = [f"{name} falls back to {info.source}: {'; '.join(facts.unanswered)}"] if facts.unanswered else []
        if facts.persistence is False:
            notes.append(f"{name}: persistence mode is off, so its idle power changes: `sudo nvidia-smi -pm 1`")
        if clients := clients_of_mps(self._handle):
            notes.append(
                f"{name}: {clients} clients of MPS share it: joules are the whole GPU's, and no meter splits them by process"
            )
        if facts.virtualization in _VIRTUAL:
            notes.append(f"{name} is {_VIRTUAL[facts.virtualization]}")
        if facts.power_limit_watts is not None:
            default = facts.default_power_limit_watts
            lowered = f", not its {default:g} W by default" if default not in (None, facts.power_limit_watts) else ""
            notes.append(f"{name}: power limit {facts.power_limit_watts:g} W{lowered}")
        if self._source.whole_module:
            notes.append(f"{name}: only the module's power can be read, so that joules include its processor")
        elif facts.module_watts is not None:
            notes.append(f"{name} sits on a module with a processor; joules are those of the GPU alone")
        if info.kind == "samples":
            notes.append(f"{name}: joules are the sum of the driver's power samples, good for any window")
        elif info.kind == "power":
            notes.append(
                f"{name}: joules are integrated from power up to {info.lag_s:g} s old, good for windows much longer than that;"
                " boards from Volta on have a counter"
            )
        return notes

    def _judge(self, error: Any, now_ns: int) -> None:
        if error.value in FATAL:
            raise MeterLost(FATAL[error.value])
        silent_s = (now_ns - self._answered_ns) / 1e9
        if silent_s > SILENT_S:
            raise MeterLost(f"the GPU has not answered for {silent_s:.0f} s: {error}")


def counter_joules(handle: Any) -> Call:
    """The total-energy counter's own call, joules since the driver was loaded."""
    function = _function("nvmlDeviceGetTotalEnergyConsumption")
    millijoules = c_ulonglong()
    answer = byref(millijoules)

    def call() -> float:
        code = function(handle, answer)
        if code:
            raise pynvml.NVMLError(code)
        return millijoules.value / 1e3

    return call


def field_joules(handle: Any) -> Call:
    """The same counter as a field value, which works on some boards that refuse the call."""
    return _field(handle, FIELD_ENERGY)


def instant_watts(handle: Any) -> Call:
    """Power, as the driver last sampled it."""
    return _field(handle, FIELD_POWER_INSTANT)


def module_watts(handle: Any) -> Call:
    """Power of the whole module, its processor included; only boards on a module with a CPU report it."""
    return _field(handle, FIELD_POWER_INSTANT, SCOPE_MODULE)


def average_watts(handle: Any) -> Call:
    """Power averaged over one second on Ampere and later (GA100 apart), instant before."""
    return lambda: float(pynvml.nvmlDeviceGetPowerUsage(handle)) / 1e3


SOURCES = (  # best first
    NvmlSource("nvml-counter", "total energy", "counter", 0.0, counter_joules),
    NvmlSource("nvml-counter", "total energy as field 83", "counter", 0.0, field_joules),
    NvmlSource("nvml-samples", "power samples", "samples", 0.05, None),
    # Instant power covers up to 0.1 s and stands for 0.1 s; the average covers 1 s.
    NvmlSource("nvml-instant", "instant power", "power", 0.2, instant_watts),
    NvmlSource("nvml-average", "average power", "power", 1.0, average_watts),
    NvmlSource("nvml-module", "power of the module", "power", 0.2, module_watts, whole_module=True),
)


def _field(handle: Any, field: int, scope: int = SCOPE_GPU) -> Call:
    """One field, in thousandths. The request succeeds even if a field fails: each has its own return code, and its own type.

    The request is written once, as nvidia-ml-py would write it each time.
    """
    function = _function("nvmlDeviceGetFieldValues")
    request = (pynvml.c_nvmlFieldValue_t * 1)()
    value = request[0]
    value.fieldId, value.scopeId = field, scope
    answer, union = byref(request), value.value

    def call() -> float:
        code = function(handle, 1, answer) or value.nvmlReturn
        if code:
            raise pynvml.NVMLError(code)
        return float(getattr(union, VALUE_MEMBERS[value.valueType])) / 1e3

    return call


def _function(name: str) -> Any:
    """The library's own function; where the library lacks it, one that returns that code."""

    def missing(*_: object) -> int:
        return int(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)

    return getattr(pynvml.nvmlLib, name, missing)
