"""Every kind of meter: a new one is a module and its line in `_FINDERS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from energy.meters.amd import find_amd
from energy.meters.base import Meter, Metered
from energy.meters.modelled import model_cpu
from energy.meters.nvidia.gpus import find_gpus
from energy.meters.rapl import find_rapl
from energy.meters.wall import find_wall
from energy.records import MissingMeter

# Probes the machine: its meters of one kind, and a reason for each that is missing. Raises EnergyError for a wrong setting.
Finder = Callable[[Metered], tuple[Sequence[Meter], Sequence[MissingMeter]]]

_FINDERS: list[Finder] = [
    lambda metered: find_gpus(metered.process_ids),
    lambda _: find_amd(),
    lambda _: find_rapl(),
    lambda _: find_wall(),
    model_cpu,
]


def register_meter(find: Finder) -> None:
    """Add a kind of meter. Samplers that start later, and `prunebench doctor`, read it."""
    _FINDERS.append(find)


def find_meters(metered: Metered) -> tuple[list[Meter], list[MissingMeter]]:
    """All meters of this machine, and why others are missing. Raises EnergyError for a wrong setting."""
    found = [find(metered) for find in _FINDERS]
    return [meter for meters, _ in found for meter in meters], [gap for _, missing in found for gap in missing]
