from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from energy.meters.nvidia.gpus import driver_version, find_gpus
from tests.energy.conftest import settings_text

ROOT = Path(__file__).parents[4]
NO_COUNTER = {"error.energy": 3, "error.field83": 3}
NO_POWER = {"error.samples": 3, "error.field186": 3, "error.power": 3}


def test_each_gpu_is_probed_once_and_named_by_its_uuid(fake_gpus):
    fake_gpus({}, {"persistence": 0, "virtualization": 2})
    meters, missing = find_gpus()
    assert [m.info.device for m in meters] == ["GPU-0000-aaaa", "GPU-1000-aaaa"]
    assert [m.info.source for m in meters] == ["nvml-counter", "nvml-counter"]
    assert missing == []
    assert (meters[0].facts.persistence, meters[1].facts.persistence) == (True, False)
    assert (meters[0].facts.virtualization, meters[1].facts.virtualization) == (0, 2)
    assert meters[0].facts.power_limit_watts == 700
    assert driver_version() == "999.01"


@pytest.mark.parametrize(
    ("failing", "source"),
    [
        ({}, "nvml-counter"),
        ({"error.energy": 3}, "nvml-counter"),
        ({**NO_COUNTER}, "nvml-samples"),
        ({"scale": 0}, "nvml-samples"),
        ({**NO_COUNTER, "error.samples": 6}, "nvml-instant"),
        ({**NO_COUNTER, "error.samples": 3, "error.field186": 3}, "nvml-average"),
        ({**NO_COUNTER, **NO_POWER, "module_watts": 300}, "nvml-module"),
    ],
)
def test_the_best_source_that_answers_is_used(fake_gpus, failing, source):
    fake_gpus(failing)
    (meter,), missing = find_gpus()
    assert meter.info.source == source
    assert missing == []
    time.sleep(0.03)  # a sample is there every 20 ms
    reading = meter.read()
    if source in {"nvml-counter", "nvml-samples"}:
        assert reading.joules > 0
    else:
        assert reading.joules is None
    assert reading.watts == pytest.approx(300, abs=0.01)
    assert bool(meter.facts.unanswered) is (source != "nvml-counter" or "error.energy" in failing)


def test_facts_that_a_gpu_reports_are_recorded_with_its_figures(fake_gpus):
    fake_gpus({"module_watts": 900})
    (meter,), _ = find_gpus()
    facts = meter.info.gpu
    assert facts is meter.facts
    assert (facts.driver, facts.vbios, facts.mig) == ("999.01", "96.00.89.00.01", False)
    assert (facts.power_limit_watts, facts.default_power_limit_watts) == (700, 700)
    assert facts.power_limit_range_watts == (200, 700)
    assert facts.module_watts == 900  # a module with a CPU on it; the counter is still the GPU's alone
    assert meter.info.source == "nvml-counter"


def test_facts_that_a_gpu_does_not_report_are_none(fake_gpus):
    fake_gpus({"error.vbios": 3, "error.limit": 3, "error.mig": 3, "error.persistence": 3, "error.virtualization": 3})
    (meter,), _ = find_gpus()
    facts = meter.facts.model_dump(exclude={"index", "uuid", "name", "driver", "unanswered"})
    assert set(facts.values()) == {None}


def test_a_gpu_that_reports_nothing_is_missing_with_every_reason(fake_gpus):
    fake_gpus({**NO_COUNTER, "error.samples": 3, "error.field186": 4, "error.power": 3})
    meters, (missing,) = find_gpus()
    assert meters == []
    assert missing.device == "GPU-0000-aaaa"
    assert missing.reason == (
        "it reports neither energy nor power (total energy: Not Supported; total energy as field 83: Not Supported;"
        " power samples: Not Supported; instant power: Insufficient Permissions; average power: Not Supported;"
        " power of the module: Not Supported)"
    )


def test_an_old_driver_without_field_values_still_gives_its_counter(fake_gpus, old_library):
    fake_gpus({}, library=old_library)
    (meter,), _ = find_gpus()
    assert meter.info.source == "nvml-counter"
    assert meter.read().watts == pytest.approx(300, abs=0.01)  # the average, in place of instant power


def test_a_gpu_in_mig_mode_is_missing_and_its_neighbour_is_not(fake_gpus):
    fake_gpus({"mig": 1}, {})
    meters, (missing,) = find_gpus()
    assert [m.info.device for m in meters] == ["GPU-1000-aaaa"]
    assert missing.device == "GPU-0000-aaaa"
    assert "MIG is on" in missing.reason


def test_a_gpu_lost_before_the_start_is_missing_by_its_index(fake_gpus):
    fake_gpus({}, {"lost_at": 1})
    meters, (missing,) = find_gpus()
    assert len(meters) == 1
    assert (missing.device, missing.reason) == ("GPU 1", "the GPU is lost")


def test_only_gpus_in_use_are_metered(fake_gpus, monkeypatch):
    fake_gpus({}, {})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    (meter,), missing = find_gpus()
    assert meter.info.device == "GPU-1000-aaaa"
    assert missing == []


def test_hiding_every_gpu_is_not_the_same_as_failing_to_read_one(fake_gpus, monkeypatch):
    fake_gpus({})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    meters, (missing,) = find_gpus()
    assert meters == []
    assert missing.device is None
    assert "CUDA_VISIBLE_DEVICES=''" in missing.reason


def test_a_mig_slice_chosen_by_name_stops_the_gpu_total(fake_gpus, monkeypatch):
    fake_gpus({})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-77")
    meters, (missing,) = find_gpus()
    assert meters == []
    assert missing.device == "every GPU"


@pytest.mark.parametrize(
    ("code", "words", "there"),
    [
        (4, "refuses this user", True),
        (9, "modprobe nvidia", False),
        (18, "differ in version", True),
        (999, "Unknown", True),
    ],
)
def test_a_driver_that_does_not_start_has_a_reason_and_a_remedy(fake_gpus, code, words, there):
    fake_gpus({}, init=code)
    meters, (missing,) = find_gpus()
    assert meters == []
    assert words in missing.reason
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        assert (missing.device is not None) is there


def test_an_error_that_passes_does_not_cost_a_gpu_its_counter(fake_gpus):
    now = time.monotonic_ns()
    fake_gpus({"glitch_from": now, "glitch_to": now + 50_000_000, "glitch_code": 10})
    (meter,), missing = find_gpus()
    assert time.monotonic_ns() > now + 50_000_000
    assert missing == []
    assert meter.info.source == "nvml-counter"
    assert meter.facts.unanswered == ()


def test_the_library_is_found_the_way_the_drivers_is(fake_library, tmp_path):
    """A new process, with nothing but the dynamic linker's search path changed."""
    settings = tmp_path / "gpus.txt"
    settings.write_text(settings_text({}))
    found = probe({"LD_LIBRARY_PATH": str(fake_library.parent), "FAKE_NVML": str(settings)})
    assert found == "['nvml-counter'] []"


def test_without_a_working_library_there_is_no_driver(tmp_path):
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"")
    found = probe({"LD_LIBRARY_PATH": str(tmp_path)})
    assert found == "[] ['no NVIDIA driver: libnvidia-ml.so.1 was not found']"


def test_the_unofficial_package_of_the_same_name_is_named(tmp_path):
    (tmp_path / "pynvml").mkdir()
    (tmp_path / "pynvml" / "__init__.py").write_text("class NVMLError(Exception): pass\nnvmlInit = None\n")
    info = tmp_path / "pynvml-11.5.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pynvml\nVersion: 11.5.3\n")
    (info / "RECORD").write_text("pynvml/__init__.py,,\n")
    found = probe({"PYTHONPATH": str(tmp_path)})
    assert "unofficial package pynvml 11.5.3" in found
    assert "pip uninstall pynvml" in found


def probe(environment: dict[str, str]) -> str:
    code = "from energy.meters.nvidia.gpus import find_gpus as f; g, m = f(); print([x.info.source for x in g], [x.reason for x in m])"
    clean = {k: v for k, v in os.environ.items() if k not in {"CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"}}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**clean, **environment}, cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
