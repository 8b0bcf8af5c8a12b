"""The order of a run's trials: how a linear drift of the machine would shift the ratios to the baseline."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import mean
from typing import Protocol

from reports.runs.records.run import OrderRule

_EXACT = 1e-9  # blocks; differences of whole positions are more exact than this


class Placed(Protocol):
    """A trial's position in the run, measured or planned."""

    @property
    def block(self) -> int: ...  # noqa: D102
    @property
    def label(self) -> str: ...  # noqa: D102
    @property
    def workload(self) -> str: ...  # noqa: D102
    @property
    def order(self) -> int: ...  # noqa: D102


def imbalance(trials: Iterable[Placed], baseline: str) -> float:
    """The largest distance, in blocks, between the mean position of a configuration and the baseline's, over configurations and workloads.

    A linear drift of x % per block shifts a ratio to the baseline by that factor times x %. Only blocks with both count.
    """
    places: dict[tuple[str, str], dict[int, int]] = {}
    for trial in trials:
        places.setdefault((trial.label, trial.workload), {})[trial.block] = trial.order
    largest = 0.0
    for (_, workload), own in places.items():
        others = places.get((baseline, workload), {})
        apart = [own[block] - others[block] for block in own.keys() & others.keys()]
        largest = max(largest, abs(mean(apart)) / len(places) if apart else 0.0)
    return largest


def describe_order(rule: OrderRule, found: float, *, blocks: int | None, configurations: int) -> str:
    """The order in words; if a drift would shift a ratio, with the number of blocks that balances a new run.

    blocks: None where the results decide.
    """
    if found < _EXACT:
        return f"{rule}: a linear drift of the machine shifts no ratio to the baseline"
    digits = max(2, 1 - math.floor(math.log10(found)))
    shifted = f"a linear drift of 1 % per block shifts a ratio to the baseline by up to {found:.{digits}f} %"
    if blocks is None:
        return f"{rule}: {shifted}"
    return f"{rule}: {shifted}; a run of {_balanced_blocks(blocks, configurations)} blocks would be balanced"


def _balanced_blocks(blocks: int, configurations: int) -> int:
    """The smallest number of blocks above `blocks` that a balanced order leaves without a residual."""
    more = max(2, blocks + 1)
    return more + more * (configurations + 1) % 2
