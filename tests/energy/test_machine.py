from __future__ import annotations

from functools import partial

import pytest

from energy.machine import describe_machine
from energy.meters import registry
from energy.meters.rapl import find_rapl
from tests.energy.meters.test_rapl import zone


@pytest.fixture(autouse=True)
def powercap(tmp_path, monkeypatch):
    root = tmp_path / "powercap"
    root.mkdir()
    monkeypatch.setattr(registry, "find_rapl", partial(find_rapl, root))
    return root


def test_a_gpu_that_counts_is_where_gross_joules_come_from(fake_gpus):
    fake_gpus({"persistence": 0, "virtualization": 1})
    described = describe_machine()
    assert described.headline == "nvml-counter"
    assert described.driver == "999.01"
    assert described.lines()[:2] == [
        "gross joules from nvml-counter",
        "nvml-counter: Stand-in 1000 (GPU-0000-aaaa)",
    ]
    assert any("nvidia-smi -pm 1" in note for note in described.notes)
    assert any("passed through" in note for note in described.notes)


def test_a_gpu_that_mps_shares_is_named_with_what_cannot_be_known(fake_gpus):
    fake_gpus({"processes": "41 42", "mps": "41 42"}, {"processes": "43"})
    (note,) = [note for note in describe_machine().notes if "MPS" in note]
    assert note.startswith("GPU 0")
    assert "2 clients of MPS share it: joules are the whole GPU's" in note


def test_one_unreadable_gpu_leaves_no_headline_and_has_a_remedy(fake_gpus):
    fake_gpus({}, {"mig": 1})
    described = describe_machine()
    assert described.headline is None
    assert "nvidia-smi -mig 0" in described.lines()[0]


def test_a_fallback_is_explained(fake_gpus):
    fake_gpus({"error.energy": 3, "error.field83": 3})
    described = describe_machine()
    assert described.headline == "nvml-samples"
    assert any("falls back to nvml-samples: total energy: Not Supported" in line for line in described.lines())


def test_without_gpu_the_package_counter_is_the_headline(fake_gpus, powercap):
    fake_gpus()
    zone(powercap, "0", "package-0")
    described = describe_machine()
    assert described.headline == "rapl"
    assert any("the driver sees no GPU" in line for line in described.lines())


def test_a_machine_without_meters_lists_every_reason(fake_gpus):
    fake_gpus()
    described = describe_machine()
    assert described.headline is None
    assert "the driver sees no GPU" in (described.reason or "")
    assert "no package counter" in (described.reason or "")
    assert any("modprobe intel_rapl_msr" in line for line in described.lines())
