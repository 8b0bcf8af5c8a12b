"""What this machine can meter, what it cannot, and what would mend that: the energy part of `prunebench doctor`."""

from __future__ import annotations

from base.records import Record
from energy.meters.nvidia.gpus import driver_version, find_gpus
from energy.meters.nvidia.nvml import NvmlMeter
from energy.meters.rapl import find_rapl
from energy.records import MeterInfo, MissingMeter, Source
from energy.window import choose_headline

# What a user should know of sources that are not counters.
_DELAYED: dict[Source, str] = {
    "nvml-samples": "joules are the sum of the driver's power samples, good for any window",
    "nvml-instant": "joules are integrated from power that is up to 0.2 s old, good for windows of some seconds",
    "nvml-average": "joules are integrated from one-second means, good for windows of many seconds",
    "nvml-module": "joules are integrated from power that is up to 0.2 s old, good for windows of some seconds",
}
_VIRTUAL = {1: "passed through to this virtual machine", 2: "a virtual GPU"}


class MachineEnergy(Record):
    """`headline` is where a trial's gross joules would come from here; None with `reason` if from nowhere."""

    headline: str | None
    reason: str | None
    driver: str | None  # of NVIDIA GPUs
    meters: list[MeterInfo]
    missing: list[MissingMeter]
    notes: list[str]  # what a careful user would change or know, one sentence each

    def lines(self) -> list[str]:
        """For people: one line a fact."""
        found = [f"{m.source}: {m.name} ({m.device})" for m in self.meters]
        lacking = [_lacking(m) for m in self.missing]
        headline = f"gross joules from {self.headline}" if self.headline else f"no gross joules: {self.reason}"
        return [headline, *found, *lacking, *self.notes, *self._stand_in()]

    def _stand_in(self) -> list[str]:
        """What is left where nothing measures."""
        if self.headline is not None:
            return []
        return ["modelled instead: state watts per core, `energy.modelled_watts_per_core` or --modelled-watts-per-core"]


def describe_machine() -> MachineEnergy:
    """Probe every meter once; nothing keeps running."""
    gpus, missing_gpus = find_gpus()
    zones, missing_zones = find_rapl()
    missing = missing_gpus + missing_zones
    infos = [gpu.info for gpu in gpus] + [zone.info for zone in zones]
    chosen, absent = choose_headline(infos, missing)
    ready = bool(chosen) and not absent
    return MachineEnergy(
        headline="+".join(sorted({m.source for m in chosen})) if ready else None,
        reason=None if ready else "; ".join(m.reason for m in absent or missing),
        driver=driver_version(),
        meters=infos,
        missing=missing,
        notes=[note for gpu in gpus for note in _notes(gpu)],
    )


def _lacking(missing: MissingMeter) -> str:
    where = f" on {missing.device}" if missing.device else ""
    remedy = f"; {missing.remedy}" if missing.remedy else ""
    return f"missing {missing.source}{where}: {missing.reason}{remedy}"


def _notes(gpu: NvmlMeter) -> list[str]:
    facts, name = gpu.facts, f"GPU {gpu.facts.index} ({gpu.facts.name})"
    notes = [f"{name} falls back to {gpu.info.source}: {'; '.join(facts.unanswered)}"] if facts.unanswered else []
    if facts.persistence is False:
        notes.append(f"{name}: persistence mode is off, so its idle power changes: `sudo nvidia-smi -pm 1`")
    if facts.virtualization in _VIRTUAL:
        notes.append(f"{name} is {_VIRTUAL[facts.virtualization]}")
    if facts.power_limit_watts is not None:
        default = facts.default_power_limit_watts
        lowered = f", not its {default:g} W by default" if default not in (None, facts.power_limit_watts) else ""
        notes.append(f"{name}: power limit {facts.power_limit_watts:g} W{lowered}")
    if gpu.info.source == "nvml-module":
        notes.append(f"{name}: only the module's power can be read, so that joules include its processor")
    elif facts.module_watts is not None:
        notes.append(f"{name} sits on a module with a processor; joules are those of the GPU alone")
    if gpu.info.source in _DELAYED:
        notes.append(f"{name}: {_DELAYED[gpu.info.source]}; boards from Volta on have a counter")
    return notes
