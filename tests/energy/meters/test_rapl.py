from __future__ import annotations

import time
from pathlib import Path

import pytest

from energy.meters.base import MeterLost
from energy.meters.rapl import RaplMeter, find_rapl

RANGE_UJ = 262_143_328_850


def zone(root: Path, number: str, name: str, microjoules: int = 1_000_000) -> Path:
    """As the kernel shows it: all zones flat under the root, the parent in the name."""
    folder = root / f"intel-rapl:{number}"
    folder.mkdir()
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder


def only_meter(root: Path) -> RaplMeter:
    (meter,), _ = find_rapl(root)
    return meter


def test_packages_and_dram_are_read_and_what_overlaps_them_is_not(tmp_path):
    for number, name in [("0", "package-0"), ("0:0", "core"), ("0:1", "uncore"), ("0:2", "dram"), ("1", "psys")]:
        zone(tmp_path, number, name)
    zone(tmp_path, "2", "package-1")
    mmio = tmp_path / "intel-rapl-mmio:0"
    mmio.mkdir()
    (mmio / "name").write_text("package-0\n")
    meters, missing = find_rapl(tmp_path)
    assert [(m.info.device, m.info.name, m.info.domain) for m in meters] == [
        ("intel-rapl:0", "package-0", "cpu-package"),
        ("intel-rapl:0:2", "dram (package-0)", "dram"),
        ("intel-rapl:2", "package-1", "cpu-package"),
    ]
    assert missing == []


def test_microjoules_become_joules_since_the_start(tmp_path):
    package = zone(tmp_path, "0", "package-0", microjoules=5_000_000)
    meter = only_meter(tmp_path)
    assert meter.read().joules == 0
    (package / "energy_uj").write_text("7500000\n")
    assert meter.read().joules == 2.5


def test_a_counter_that_wraps_goes_on(tmp_path):
    package = zone(tmp_path, "0", "package-0", microjoules=RANGE_UJ - 100)
    meter = only_meter(tmp_path)
    time.sleep(0.01)
    (package / "energy_uj").write_text("400\n")
    assert meter.read().joules == pytest.approx(500e-6)
    (package / "energy_uj").write_text("900\n")
    assert meter.read().joules == pytest.approx(1000e-6)


def test_a_step_back_that_cannot_be_a_wrap_is_a_reset(tmp_path):
    package = zone(tmp_path, "0", "package-0", microjoules=RANGE_UJ // 2)
    meter = only_meter(tmp_path)
    (package / "energy_uj").write_text("3\n")
    with pytest.raises(MeterLost, match="went backwards"):
        meter.read()


def test_a_zone_that_disappears_is_lost(tmp_path):
    package = zone(tmp_path, "0", "package-0")
    meter = only_meter(tmp_path)
    (package / "energy_uj").unlink()
    with pytest.raises(MeterLost, match="can no longer be read"):
        meter.read()


def test_a_machine_without_the_tree_has_a_reason(tmp_path):
    meters, (missing,) = find_rapl(tmp_path / "powercap")
    assert meters == []
    assert missing.device is None
    assert "no package counter" in missing.reason
    assert "virtual ones seldom" in (missing.remedy or "")


def test_a_zone_for_root_only_comes_with_the_command_that_opens_it(tmp_path, monkeypatch):
    """Tests may run as root, whom no mode keeps out: the refusal itself is simulated, where the file is read."""
    package = zone(tmp_path, "0", "package-0")
    read_text = Path.read_text

    def refuse(self: Path, *arguments: str) -> str:
        if self == package / "energy_uj":
            raise PermissionError(13, "Permission denied", str(self))
        return read_text(self, *arguments)

    monkeypatch.setattr(Path, "read_text", refuse)
    meters, (missing,) = find_rapl(tmp_path)
    assert meters == []
    assert missing.device == "intel-rapl:0"
    assert f"sudo chmod a+r {tmp_path}/intel-rapl:*/energy_uj" in missing.reason


def test_a_zone_that_holds_no_number_is_missing_not_zero(tmp_path):
    package = zone(tmp_path, "0", "package-0")
    (package / "energy_uj").write_text("\n")
    meters, (missing,) = find_rapl(tmp_path)
    assert meters == []
    assert missing.device == "intel-rapl:0"
