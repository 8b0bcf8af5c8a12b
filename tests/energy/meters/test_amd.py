"""AMD GPUs: AMD's own module over a stand-in for its library, with known power."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from energy.meters import amd
from energy.meters.amd import ALL, find_amd
from energy.meters.base import MeterLost
from energy.sampler import Sampler
from energy.window import window_energy

SOURCE = Path(__file__).parents[1] / "known_power" / "fake_amdsmi.c"
AMD = Path(sys.prefix) / "amd"  # AMD's module, on the path of these tests alone
installed = pytest.mark.skipif(not AMD.is_dir(), reason="AMD's module is not in .venv/amd, where `make venv` puts it")
BOARD = "300 1 1 0"  # watts, counts energy, reports power, fails


@pytest.fixture(scope="module")
def module():
    """AMD's module can be imported, and is forgotten afterwards: vLLM would take this for a machine of AMD's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(AMD)
        yield find_spec("amdsmi")
    for name in [name for name in sys.modules if name.partition(".")[0] == "amdsmi"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def rocm(module, tmp_path_factory) -> Path:
    """A ROCm with the stand-in: every function that the module looks up is there, most of them not supported."""
    folder = tmp_path_factory.mktemp("rocm")
    (folder / "lib").mkdir()
    wrapper = Path(module.origin).with_name("amdsmi_wrapper.py").read_text("utf-8")
    named = set(re.findall(r"_libraries\['libamd_smi.so'\]\.(amdsmi_\w+)", wrapper))
    source = SOURCE.read_text("utf-8")
    others = "".join(f"int {n}(void) {{ return NOT_SUPPORTED; }}\n" for n in sorted(named) if f"int {n}(" not in source)
    (folder / "all.c").write_text(source + others)
    library = folder / "lib" / "libamd_smi.so"
    subprocess.run([shutil.which("gcc"), "-shared", "-fPIC", "-O2", folder / "all.c", "-o", library], check=True)
    return folder


@pytest.fixture
def boards(rocm, tmp_path, monkeypatch) -> Callable[..., None]:
    """Put GPUs into this machine, a line of the stand-in's settings each."""
    file = tmp_path / "boards.txt"
    monkeypatch.setenv("ROCM_PATH", str(rocm))
    monkeypatch.setenv("FAKE_AMDSMI", str(file))
    for name in ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)

    def install(*lines: str) -> None:
        file.write_text("".join(f"{line}\n" for line in lines))

    return install


def found(**environment: str):
    return find_amd(Path("/"), environment)


def test_a_machine_without_amds_driver_has_no_such_meter_and_lacks_none(tmp_path):
    assert find_amd(tmp_path / "kfd", {}) == ([], [])


def test_with_the_driver_and_without_the_module_a_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "amdsmi", None)
    meters, (missing,) = found()
    assert meters == []
    assert (missing.device, missing.domain, missing.reason) == (ALL, "gpu", "the module amdsmi is not installed")
    assert "/opt/rocm/share/amd_smi" in missing.remedy


@installed
def test_each_board_is_a_counter_with_its_power_beside_it(boards):
    boards(BOARD, "250 1 0 0")
    meters, missing = found()
    assert missing == []
    assert [(m.info.source, m.info.device, m.info.name) for m in meters] == [
        ("amdsmi-counter", "amd-0", "AMD Stand-in"),
        ("amdsmi-counter", "amd-1", "AMD Stand-in"),
    ]
    assert [m.read().watts for m in meters] == [300, None]
    assert "not on a real board" in meters[0].notes()[0]


@installed
def test_joules_over_a_window_are_watts_times_seconds_and_boards_add_up(boards, monkeypatch):
    monkeypatch.setattr(amd, "POWER_LAG_S", 0.02)  # a window of a second is none for power that is a second old
    boards(BOARD, "250 0 1 0")
    meters, _ = found()
    assert [m.info.kind for m in meters] == ["counter", "power"]
    sampler = Sampler(meters, [], 0.005)
    while len(sampler.trace(0).meters[0].joules) < 60:
        time.sleep(0.05)
    sampler.stop()
    trace = sampler.trace(0)
    start, end = (trace.meters[0].after_ns[at] for at in (10, -10))
    energy = window_energy(trace, start, end)
    truth = 550 * (end - start) / 1e9
    assert abs(energy.gross_joules - truth) <= energy.gross_joules_uncertainty
    assert energy.source == "amdsmi-counter+amdsmi-power"


@installed
def test_a_board_that_reports_nothing_is_missing_and_not_left_out(boards):
    boards(BOARD, "300 0 0 0", "0 1 1 0")
    meters, missing = found()
    assert len(meters) == 1
    assert [m.device for m in missing] == ["amd-1", "amd-2"]
    assert all("it reports neither energy nor power" in m.reason for m in missing)


@installed
def test_the_boards_in_use_are_those_of_hip(boards):
    boards(BOARD, "250 1 1 0", BOARD)
    meters, _ = found(HIP_VISIBLE_DEVICES="2,0")
    assert [m.info.device for m in meters] == ["amd-0", "amd-2"]
    meters, (missing,) = found(ROCR_VISIBLE_DEVICES="1")
    assert (meters, missing.device) == ([], ALL)


@installed
def test_a_board_that_falls_silent_has_gaps_and_then_is_lost(boards, monkeypatch):
    boards(BOARD)
    (meter,), _ = found()
    boards("300 1 1 1")
    gap = meter.read()
    assert (gap.joules, gap.watts) == (None, None)
    assert "Device Not found" in gap.error
    monkeypatch.setattr(amd, "SILENT_S", 0.0)
    with pytest.raises(MeterLost, match="the GPU has not answered"):
        meter.read()
