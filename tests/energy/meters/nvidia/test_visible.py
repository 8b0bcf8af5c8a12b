from __future__ import annotations

import pytest

from energy.meters.nvidia.visible import UnknownGpus, visible_gpus

UUIDS = ["GPU-aa11", "GPU-aa22", "GPU-bb33"]
ALIKE = ["H100", "H100", "H100"]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("1", [1]),
        ("2,0", [2, 0]),
        (" 2 , 0 ", [2, 0]),
        ("0,0", [0]),
        ("0,-1,2", [0]),
        ("0,7,2", [0]),
        ("3", []),
        ("GPU-bb33", [2]),
        ("GPU-bb", [2]),
        ("GPU-bb,0", [2, 0]),
        ("GPU-cc", []),
        ("nonsense", []),
    ],
)
def test_the_variable_is_read_as_cuda_reads_it(visible, expected):
    assert visible_gpus(UUIDS, ALIKE, visible, None) == expected


def test_a_uuid_prefix_that_fits_two_gpus_chooses_none():
    assert visible_gpus(UUIDS, ALIKE, "GPU-aa", None) == []


def test_indices_among_different_gpus_need_the_order_to_be_stated():
    different = ["H100", "T4", "H100"]
    with pytest.raises(UnknownGpus, match="CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        visible_gpus(UUIDS, different, "0", None)
    with pytest.raises(UnknownGpus, match="CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        visible_gpus(UUIDS, different, "0", "FASTEST_FIRST")
    assert visible_gpus(UUIDS, different, "0", "PCI_BUS_ID") == [0]


def test_choosing_every_gpu_or_naming_them_needs_no_order():
    different = ["H100", "T4", "H100"]
    assert visible_gpus(UUIDS, different, "2,1,0", None) == [2, 1, 0]
    assert visible_gpus(UUIDS, different, "GPU-aa22", None) == [1]


def test_a_mig_slice_is_refused_since_the_counter_reads_its_board():
    with pytest.raises(UnknownGpus, match="whole board"):
        visible_gpus(UUIDS, ALIKE, "MIG-1234", None)


def test_a_gpu_that_does_not_report_its_uuid_is_still_counted():
    assert visible_gpus([None, "GPU-aa22"], [None, "H100"], "1,0", None) == [1, 0]
