"""Which GPUs CUDA programs started from here use: `CUDA_VISIBLE_DEVICES` read as the CUDA programming guide defines it.

NVML lists all GPUs by PCI bus and ignores the variable. CUDA's own numbering is fastest first unless CUDA_DEVICE_ORDER is
PCI_BUS_ID, so that an index is sure only where all GPUs are of one model, or all of them are chosen.
"""

from __future__ import annotations

from collections.abc import Sequence


class UnknownGpus(Exception):  # noqa: N818 - a result, not a mistake of the caller
    """GPUs are chosen that cannot be matched with NVML's, or that are parts of one; the message has the reason."""


def visible_gpus(
    uuids: Sequence[str | None], names: Sequence[str | None], visible: str | None, order: str | None
) -> list[int]:
    """NVML indices of the GPUs in use, in the chosen order; an empty list means that CUDA sees none.

    uuids, names: one a GPU in NVML's order, None if a GPU does not report it.
    visible, order: CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER; None: not set.
    Raises UnknownGpus.
    """
    if visible is None:
        return list(range(len(uuids)))
    chosen: list[int] = []
    by_index = False
    for entry in (e.strip() for e in visible.split(",")):
        if entry.startswith("MIG-"):
            raise UnknownGpus(
                f"CUDA_VISIBLE_DEVICES={visible} chooses a MIG slice: the counter reads the whole board, and no meter reads a slice's share"
            )
        index = _index(entry, uuids)
        if index is None:
            break  # CUDA ignores what follows the first entry that it cannot use
        by_index |= entry.isdecimal()
        if index not in chosen:
            chosen.append(index)
    if by_index and order != "PCI_BUS_ID" and len(chosen) < len(uuids) and len(set(names)) > 1:
        raise UnknownGpus(
            f"CUDA_VISIBLE_DEVICES={visible} counts fastest first and the GPUs here differ: set CUDA_DEVICE_ORDER=PCI_BUS_ID,"
            " or name the GPUs by UUID"
        )
    return chosen


def _index(entry: str, uuids: Sequence[str | None]) -> int | None:
    if entry.isdecimal():
        return int(entry) if int(entry) < len(uuids) else None
    if not entry.startswith("GPU-"):
        return None
    matches = [i for i, uuid in enumerate(uuids) if uuid is not None and uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 else None
