"""The comparisons behind the advice, with simultaneous intervals: purposes x configurations x {speed, joules}."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from base.records import Record
from loadgen.workloads.base import Workload
from reports.analysis.quantities import E2E, JOULES, OF_TEXT, OUTPUT_TOKENS_PER_S, QUANTITIES, TPOT
from reports.statistics.ratios import Comparison
from reports.statistics.simultaneous import compare_together

Purpose = Literal["interactive use", "batch work"]
PURPOSES: tuple[Purpose, ...] = ("interactive use", "batch work")


class FamilyComparison(Record):
    """One configuration against the baseline, in speed or joules, under the workload that represents a purpose."""

    purpose: Purpose
    workload: str
    label: str
    quantity: str  # its key
    comparison: Comparison


def compare_family(
    workloads: Mapping[str, Workload],
    compared: Callable[[str, str], dict[str, Comparison]],
    margin: float,
    *,
    per_character: bool = False,
    looks: Sequence[int] = (),
) -> list[FamilyComparison]:
    """`compared` returns the comparisons of a workload and a quantity by label; each is paired within blocks.

    `per_character`: what is per token is taken per character; `looks`: the run's.
    """
    kinds = [
        (purpose, workload, OF_TEXT[key] if per_character else key) for purpose, workload, key in groups_of(workloads)
    ]
    groups = {group: compared(*group[1:]) for group in kinds}
    decided = sum(any(c.verdict is not None for c in group.values()) for group in groups.values())
    return [
        FamilyComparison(purpose=purpose, workload=workload, label=label, quantity=key, comparison=comparison)
        for (purpose, workload, key), group in groups.items()
        for label, comparison in compare_together(
            group, QUANTITIES[key].better, margin=margin, groups=max(1, decided), looks=looks
        ).items()
    ]


def groups_of(workloads: Mapping[str, Workload]) -> list[tuple[Purpose, str, str]]:
    """Purpose, workload and quantity of each group of comparisons."""
    return [
        (purpose, workload, key)
        for purpose in PURPOSES
        if (workload := workload_of(workloads, purpose)) is not None
        for key in (speed_of(workloads[workload], purpose), JOULES)
    ]


def workload_of(workloads: Mapping[str, Workload], purpose: Purpose) -> str | None:
    """The workload that represents a purpose: the lightest load for interactive use, the heaviest closed loop for batch work."""
    closed = {n: w.level for n, w in workloads.items() if not w.open_loop}
    if purpose == "batch work":
        full = {n: load for n, load in closed.items() if load > 1}
        return max(full, key=full.__getitem__, default=None)
    alone = [n for n, load in closed.items() if load == 1]
    rates = {n: w.level for n, w in workloads.items() if w.open_loop}
    return alone[0] if alone else min(rates, key=rates.__getitem__, default=None)


def speed_of(workload: Workload, purpose: Purpose) -> str:
    """The key of the quantity that means speed for a purpose. Answers of natural length are compared per token."""
    if purpose == "batch work":
        return OUTPUT_TOKENS_PER_S
    return TPOT if workload.natural_stop else E2E
