"""AMD GPUs as meters, through AMD's own Python module `amdsmi`. Untried on a real board: it is tested on a stand-in for the library.

The module must fit the installed ROCm, which brings it (`pip install /opt/rocm/share/amd_smi`), so that it is no dependency of ours.
A GPU's energy counter is read where it has one, else its socket power is integrated. Of a module with two dies one may report for
both; a GPU that reports neither is missing, and the headline with it.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from energy.meters.base import MeterLost, Reading
from energy.records import MeterInfo, MissingMeter

KFD = Path("/dev/kfd")  # there where the amdgpu driver serves a GPU that can compute
ALL = "every AMD GPU"
POWER_LAG_S = 1.0  # socket power may be an average over as long
SILENT_S = 30.0
_REMEDY = "pip install /opt/rocm/share/amd_smi, the module of the installed ROCm"
_POWERS = ("average_socket_power", "current_socket_power", "socket_power")  # watts; boards report some of them


class AmdMeter:
    """One GPU: its energy counter with the power beside it as a cross-check, or its power alone."""

    def __init__(self, amdsmi: Any, handle: Any, device: str, name: str) -> None:
        """Probe it. Raises LookupError with the reason if it reports neither energy nor power."""
        self._amdsmi, self._handle = amdsmi, handle
        reasons = []
        for what, call in (("energy", self._joules), ("power", self._watts)):
            try:
                if call() > 0:
                    continue
                reasons.append(f"{what}: always 0")
            except (amdsmi.AmdSmiException, LookupError) as error:
                reasons.append(f"{what}: {_line(error)}")
        failed = {reason.partition(":")[0] for reason in reasons}
        if len(failed) == 2:
            raise LookupError(f"it reports neither energy nor power ({'; '.join(reasons)})")
        counts = "energy" not in failed
        self.info = MeterInfo(
            source="amdsmi-counter" if counts else "amdsmi-power",
            domain="gpu",
            device=device,
            name=name,
            kind="counter" if counts else "power",
            lag_s=0.0 if counts else POWER_LAG_S,
        )
        self._take = self._take_counter if counts else self._take_power
        self._has_power = "power" not in failed
        self._answered_ns = time.monotonic_ns()

    def read(self) -> Reading:
        """One reading; a failed one is retried once, then is a gap. Raises MeterLost if the GPU is silent for 30 s."""
        for tried in (False, True):
            before = time.monotonic_ns()
            try:
                reading = self._take(before)
            except (self._amdsmi.AmdSmiException, LookupError) as error:
                after = time.monotonic_ns()
                if after - self._answered_ns > SILENT_S * 1e9:
                    raise MeterLost(f"the GPU has not answered for {SILENT_S:.0f} s: {_line(error)}") from None
                if tried:
                    return Reading(before, after, error=_line(error))
            else:
                self._answered_ns = before
                return reading
        raise AssertionError  # the loop returns

    def notes(self) -> list[str]:
        """What is not proven."""
        return [f"{self.info.name}: metering of AMD GPUs was tested on a stand-in, not on a real board"]

    def _take_counter(self, before: int) -> Reading:
        joules, watts = self._joules(), None
        after = time.monotonic_ns()
        if self._has_power:
            with contextlib.suppress(self._amdsmi.AmdSmiException, LookupError):
                watts = self._watts()
        return Reading(before, after, joules, watts)

    def _take_power(self, before: int) -> Reading:
        watts = self._watts()
        return Reading(before, time.monotonic_ns(), watts=watts)

    def _joules(self) -> float:
        """`counter_resolution` is in microjoules."""
        found = self._amdsmi.amdsmi_get_energy_count(self._handle)
        return float(found["energy_accumulator"]) * float(found["counter_resolution"]) / 1e6

    def _watts(self) -> float:
        found = self._amdsmi.amdsmi_get_power_info(self._handle)
        watts = [float(found[name]) for name in _POWERS if isinstance(found.get(name), int | float)]
        if not any(watts):
            raise LookupError("it reports no power")
        return next(value for value in watts if value)


def find_amd(kfd: Path = KFD, environment: Mapping[str, str] = os.environ) -> tuple[list[AmdMeter], list[MissingMeter]]:
    """The AMD GPUs in use, and a reason for each that cannot be metered. Nothing is said of a machine without one."""
    if not kfd.exists():
        return [], []
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints when it does not find its library
            amdsmi: Any = importlib.import_module("amdsmi")
    except ImportError:
        return [], [_missing("the module amdsmi is not installed", ALL, _REMEDY)]
    except (OSError, KeyError, AttributeError) as error:
        return [], [_missing(f"the module amdsmi does not fit the installed ROCm: {_line(error)}", ALL, _REMEDY)]
    if environment.get("ROCR_VISIBLE_DEVICES"):
        why = "ROCR_VISIBLE_DEVICES chooses GPUs in an order that is not known here"
        return [], [_missing(why, ALL, "choose them by HIP_VISIBLE_DEVICES")]
    try:
        amdsmi.amdsmi_init(amdsmi.AmdSmiInitFlags.INIT_AMD_GPUS)
        handles = [h for h in amdsmi.amdsmi_get_processor_handles() if _in_use(amdsmi, h, environment)]
    except amdsmi.AmdSmiException as error:
        return [], [_missing(f"amdsmi: {_line(error)}", ALL)]
    meters, missing = [], []
    for number, handle in enumerate(handles):
        device = f"AMD GPU {number}"
        try:
            device = str(amdsmi.amdsmi_get_gpu_device_uuid(handle))
            name = str(amdsmi.amdsmi_get_gpu_asic_info(handle)["market_name"])
            meters.append(AmdMeter(amdsmi, handle, device, name))
        except (amdsmi.AmdSmiException, LookupError) as error:
            missing.append(_missing(_line(error), device))
    return meters, missing


def _in_use(amdsmi: Any, handle: Any, environment: Mapping[str, str]) -> bool:
    chosen = environment.get("HIP_VISIBLE_DEVICES")
    if not chosen:
        return True
    return str(amdsmi.amdsmi_get_gpu_enumeration_info(handle)["hip_id"]) in chosen.split(",")


def _missing(reason: str, device: str, remedy: str | None = None) -> MissingMeter:
    return MissingMeter(source="amdsmi-counter", domain="gpu", reason=reason, remedy=remedy, device=device)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
