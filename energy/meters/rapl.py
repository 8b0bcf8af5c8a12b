"""CPU package and DRAM counters of the Linux powercap tree (Intel RAPL, and AMD's under the same name).

Zones and attributes as in the kernel's Documentation/power/powercap. Of the zones only packages and DRAM are read: core and
uncore are parts of the package, psys contains it, and `intel-rapl-mmio` shows the same packages once more.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from energy.meters.base import MeterLost, Reading
from energy.records import MeterInfo, MissingMeter

SOURCE = "rapl"
POWERCAP = Path("/sys/class/powercap")
REFRESH_S = 0.001  # the counters advance about once a millisecond (Intel SDM volume 3B, section 15.10)
IMPLAUSIBLE_WATTS = 20_000  # a wrap-around that implies more than this was a reset


class RaplMeter:
    """One zone. `energy_uj` counts microjoules and starts again at 0 after `max_energy_range_uj`."""

    def __init__(self, zone: Path, name: str) -> None:
        self.info = MeterInfo(
            source=SOURCE,
            domain="dram" if name.startswith("dram") else "cpu-package",
            device=zone.name,
            name=name,
            refresh_s=REFRESH_S,
        )
        self._file = zone / "energy_uj"
        self._range_uj = int((zone / "max_energy_range_uj").read_text())
        self._last_uj = int(self._file.read_text())
        self._last_ns = time.monotonic_ns()
        self._total_uj = 0

    def read(self) -> Reading:
        """Joules since the first read, across wrap-arounds. Raises MeterLost once the zone cannot be read."""
        before = time.monotonic_ns()
        try:
            now_uj = int(self._file.read_text())
        except (OSError, ValueError) as error:
            raise MeterLost(f"{self._file} can no longer be read: {error}") from None
        after = time.monotonic_ns()
        step_uj = now_uj - self._last_uj
        if step_uj < 0:
            step_uj += self._range_uj
            if not 0 <= step_uj <= IMPLAUSIBLE_WATTS * (after - self._last_ns) / 1e3:  # W x ns / 1000 = uJ
                raise MeterLost(f"{self._file} went backwards: the counter was reset")
        self._last_uj, self._last_ns = now_uj, after
        self._total_uj += step_uj
        return Reading(before, after, self._total_uj / 1e6)


def find_rapl(root: Path = POWERCAP) -> tuple[list[RaplMeter], list[MissingMeter]]:
    """The package and DRAM zones under `root` that can be read, and a reason for each that cannot."""
    zones = {zone: _zone_name(zone) for zone in sorted(root.glob("intel-rapl:*"))}
    wanted = {zone: name for zone, name in zones.items() if re.match(r"package-\d|dram", name)}
    if not wanted:
        reason = f"no package counter under {root}"
        remedy = (
            "a physical machine that has one may need `sudo modprobe intel_rapl_msr`; virtual ones seldom pass it on"
        )
        return [], [_missing(reason, None, remedy)]
    meters, missing = [], []
    for zone, name in wanted.items():
        try:
            meters.append(RaplMeter(zone, _full_name(name, zone, zones)))
        except PermissionError:
            reason = f"{zone}/energy_uj is for root only: `sudo chmod a+r {root}/intel-rapl:*/energy_uj`"
            missing.append(_missing(reason, zone))
        except (OSError, ValueError) as error:
            missing.append(_missing(f"{zone} cannot be read: {error}", zone))
    return meters, missing


def _missing(reason: str, zone: Path | None, remedy: str | None = None) -> MissingMeter:
    device = zone.name if zone else None
    return MissingMeter(source=SOURCE, domain="cpu-package", reason=reason, remedy=remedy, device=device)


def _zone_name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return ""


def _full_name(name: str, zone: Path, zones: dict[Path, str]) -> str:
    """With the name of the package, if any: the DRAM zones of all packages have the same name."""
    parent = zones.get(zone.with_name(zone.name.rpartition(":")[0]))
    return f"{name} ({parent})" if parent else name
