"""Find the GPUs to meter: start NVML, work out which GPUs are in use, and choose for each the best source that answers.

The order: the total-energy counter (Volta and later), the same as a field value, the driver's buffer of power samples,
instant power, one-second average power, and instant power of the module that the GPU sits on, its processor included.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import pynvml

from energy.meters.nvidia.answers import first_answer, watts_of
from energy.meters.nvidia.nvml import (
    FATAL,
    SOURCES,
    Call,
    NvmlMeter,
    NvmlSource,
    average_watts,
    instant_watts,
    module_watts,
)
from energy.meters.nvidia.samples import PowerSamples
from energy.meters.nvidia.visible import UnknownGpus, visible_gpus
from energy.records import GpuFacts, MissingMeter

PROBE_TRIES, PROBE_PAUSE_S = 5, 0.02  # a driver that has just been loaded refuses some calls at first
ALL = "every GPU"
PCI_DEVICES = Path("/sys/bus/pci/devices")
T = TypeVar("T")

_NO_DRIVER_REMEDY = (
    "install the driver; a container needs `--gpus all` and NVIDIA_DRIVER_CAPABILITIES that include utility"
)
_INIT_HELP = {
    4: "the NVIDIA driver refuses this user: it must be able to open /dev/nvidiactl and /dev/nvidia0, 1, ...",
    9: "the NVIDIA driver is not loaded: install it, or `sudo modprobe nvidia`",
    12: "no NVIDIA driver: libnvidia-ml.so.1 was not found",
    18: "libnvidia-ml.so.1 and the loaded kernel driver differ in version: restart the machine, or reload the driver",
}


class Unmeterable(Exception):  # noqa: N818 - a result for one GPU, not a mistake
    """One GPU cannot be metered; the message has the reason and the remedy."""


def find_gpus(own_processes: Callable[[], list[int]] = list) -> tuple[list[NvmlMeter], list[MissingMeter]]:
    """The GPUs in use that can be metered, and a reason for each that cannot.

    own_processes: the processes that are metered; without any, other processes on a GPU are not known.
    NVML stays started for the life of the process; it counts its users, so that others may start and stop it too.
    """
    conflict = foreign_pynvml()
    if conflict is not None:
        return [], [_missing(conflict, ALL)]
    try:
        pynvml.nvmlInit()
        count = int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError as error:
        # Without a loaded driver no GPU can be in use; without its library one can.
        there = error.value not in {9, 12} or any(Path("/dev").glob("nvidia[0-9]*"))
        remedy = _NO_DRIVER_REMEDY if error.value == 12 else None
        reason = _INIT_HELP.get(error.value, f"NVML: {error}") + _on_the_bus()
        return [], [_missing(reason, ALL if there else None, remedy)]
    seen = [_identify(index) for index in range(count)]
    visible, order = os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("CUDA_DEVICE_ORDER")
    try:
        chosen = visible_gpus([s.uuid for s in seen], [s.name for s in seen], visible, order)
    except UnknownGpus as error:
        return [], [_missing(str(error), ALL)]
    if not chosen:
        why = "the driver sees no GPU" if count == 0 else f"CUDA_VISIBLE_DEVICES={visible!r} leaves no GPU in use"
        return [], [_missing(why, None)]
    return _probe_all([seen[index] for index in chosen], own_processes)


def _on_the_bus(devices: Path = PCI_DEVICES) -> str:
    """The number of NVIDIA GPUs on the PCI bus, for which a driver could be installed, as the end of a sentence."""
    found = 0
    for device in devices.glob("*"):
        with contextlib.suppress(OSError):
            vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
            found += vendor == "0x10de" and kind.startswith("0x03")  # display controllers, with a screen or without
    return f", though the PCI bus has {found} GPU{'s' * (found != 1)} of NVIDIA's" if found else ""


def driver_version() -> str | None:
    """The NVIDIA driver's version; None if `find_gpus` could not start NVML."""
    version: str | None = first_answer(pynvml.nvmlSystemGetDriverVersion)
    return version


def foreign_pynvml() -> str | None:
    """The remedy if the unofficial `pynvml` distribution, with a module of the same name, hides NVIDIA's; else None."""
    try:
        distribution = metadata.distribution("pynvml")
    except metadata.PackageNotFoundError:
        return None
    if not any(str(file).startswith("pynvml/") or str(file) == "pynvml.py" for file in distribution.files or []):
        return None  # later releases only depend on nvidia-ml-py
    return (
        f"the unofficial package pynvml {distribution.version} hides NVIDIA's own module:"
        " `pip uninstall pynvml`, then `pip install --force-reinstall nvidia-ml-py`"
    )


@dataclass(frozen=True)
class _Seen:
    """A GPU by NVML's index. If it does not report uuid and name they are None, and `error` is the reason."""

    index: int
    handle: Any = None
    uuid: str | None = None
    name: str | None = None
    error: Any = None


def _identify(index: int) -> _Seen:
    try:
        handle = _retry(lambda: pynvml.nvmlDeviceGetHandleByIndex(index))
        uuid = _retry(lambda: pynvml.nvmlDeviceGetUUID(handle))
        name = _retry(lambda: pynvml.nvmlDeviceGetName(handle))
    except pynvml.NVMLError as error:
        return _Seen(index, error=error)
    return _Seen(index, handle, str(uuid), str(name))


def _probe_all(gpus: list[_Seen], own_processes: Callable[[], list[int]]) -> tuple[list[NvmlMeter], list[MissingMeter]]:
    meters, missing = [], []
    for seen in gpus:
        try:
            meters.append(_probe(seen, own_processes))
        except Unmeterable as error:
            missing.append(_missing(str(error), seen.uuid or f"GPU {seen.index}"))
    return meters, missing


def _probe(seen: _Seen, own_processes: Callable[[], list[int]]) -> NvmlMeter:
    handle = seen.handle
    if seen.uuid is None or seen.name is None:
        raise Unmeterable(FATAL.get(seen.error.value, f"it does not report its name: {seen.error}"))
    mig = first_answer(lambda: pynvml.nvmlDeviceGetMigMode(handle))
    if mig is not None and mig[0]:
        raise Unmeterable(
            "MIG is on: the counter reads the whole board, and no meter reads a slice's share: `nvidia-smi -mig 0`"
        )
    source, read, unanswered = _best_source(handle)
    facts = _facts(seen, bool(mig[0]) if mig is not None else None, unanswered)
    power = _power_beside(handle) if source.kind == "counter" else None
    return NvmlMeter(facts, source, handle, read, power, own_processes=own_processes)


def _facts(seen: _Seen, mig: bool | None, unanswered: tuple[str, ...]) -> GpuFacts:
    handle = seen.handle
    persistence = first_answer(lambda: pynvml.nvmlDeviceGetPersistenceMode(handle))
    low_high = first_answer(lambda: pynvml.nvmlDeviceGetPowerManagementLimitConstraints(handle))
    vbios = first_answer(lambda: pynvml.nvmlDeviceGetVbiosVersion(handle))
    return GpuFacts(
        index=seen.index,
        uuid=seen.uuid or "",
        name=seen.name or "",
        driver=driver_version(),
        vbios=None if vbios is None else str(vbios),
        mig=mig,
        virtualization=first_answer(lambda: pynvml.nvmlDeviceGetVirtualizationMode(handle)),
        persistence=None if persistence is None else bool(persistence),
        power_limit_watts=watts_of(first_answer(lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(handle))),
        default_power_limit_watts=watts_of(
            first_answer(lambda: pynvml.nvmlDeviceGetPowerManagementDefaultLimit(handle))
        ),
        power_limit_range_watts=None if low_high is None else (low_high[0] / 1e3, low_high[1] / 1e3),
        module_watts=first_answer(module_watts(handle)),
        unanswered=unanswered,
    )


def _best_source(handle: Any) -> tuple[NvmlSource, Call | PowerSamples, tuple[str, ...]]:
    """The first source that gives a figure above 0: boards without a sensor report 0."""
    unanswered: list[str] = []
    for source in SOURCES:
        read: Call | PowerSamples
        try:
            read = _samples(handle) if source.read is None else source.read(handle)
            error = None if isinstance(read, PowerSamples) else _probe_call(read)
        except LookupError as unusable:
            error = str(unusable)
        if error is None:
            return source, read, tuple(unanswered)
        unanswered.append(f"{source.words}: {error}")
    raise Unmeterable("it reports neither energy nor power (" + "; ".join(unanswered) + ")")


def _samples(handle: Any) -> PowerSamples:
    """Raises LookupError, with the driver's reason, if there is no usable buffer of samples."""
    try:
        return _retry(lambda: PowerSamples(handle))
    except pynvml.NVMLError as error:
        if error.value in FATAL:
            raise Unmeterable(FATAL[error.value]) from None
        raise LookupError(str(error)) from None


def _power_beside(handle: Any) -> Call | None:
    for read in (instant_watts(handle), average_watts(handle)):
        if _probe_call(read) is None:
            return read
    return None


def _probe_call(read: Call) -> str | None:
    """None if the call gives a figure above 0, else why not."""
    try:
        return None if _retry(read) > 0 else "always 0"
    except pynvml.NVMLError as error:
        if error.value in FATAL:
            raise Unmeterable(FATAL[error.value]) from None
        return str(error)


def _retry(call: Callable[[], T]) -> T:
    """The call's result, retried after transient errors. Raises the last NVMLError."""
    for _ in range(PROBE_TRIES - 1):
        try:
            return call()
        except pynvml.NVMLError as error:
            if error.value in FATAL or error.value == pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
                raise
        time.sleep(PROBE_PAUSE_S)
    return call()


def _missing(reason: str, device: str | None, remedy: str | None = None) -> MissingMeter:
    return MissingMeter(source=SOURCES[0].name, domain="gpu", reason=reason, remedy=remedy, device=device)
