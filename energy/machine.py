"""Which meters this machine has, which it lacks, and how to get those: the energy part of `prunebench doctor`."""

from __future__ import annotations

from base.records import Record
from energy.meters.base import HasNotes, Metered
from energy.meters.nvidia.gpus import driver_version
from energy.meters.registry import find_meters
from energy.records import MeterInfo, MissingMeter
from energy.window import choose_headline


class MachineEnergy(Record):
    """`headline` is the source of a trial's gross joules on this machine; None, with `reason`, if there is none."""

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
        """What to do where nothing measures."""
        if self.headline is not None:
            return []
        return ["modelled instead: state watts per core, `energy.modelled_watts_per_core` or --modelled-watts-per-core"]


def describe_machine() -> MachineEnergy:
    """Probe every meter once; nothing keeps running."""
    meters, missing = find_meters(Metered())
    infos = [meter.info for meter in meters]
    chosen, absent = choose_headline(infos, missing)
    ready = bool(chosen) and not absent
    return MachineEnergy(
        headline="+".join(sorted({m.source for m in chosen})) if ready else None,
        reason=None if ready else "; ".join(m.reason for m in absent or missing),
        driver=driver_version(),
        meters=infos,
        missing=missing,
        notes=[note for meter in meters if isinstance(meter, HasNotes) for note in meter.notes()],
    )


def _lacking(missing: MissingMeter) -> str:
    where = f" on {missing.device}" if missing.device else ""
    remedy = f"; {missing.remedy}" if missing.remedy else ""
    return f"missing {missing.source}{where}: {missing.reason}{remedy}"
