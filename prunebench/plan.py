"""From labels and workloads to the cells to measure, in order: pure, so that a resumed run plans the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from reports.run_folder import TrialCell


@dataclass(frozen=True)
class Visit:
    """One configuration's turn within a block: its server is up and every workload is measured."""

    block: int
    label: str
    cells: tuple[TrialCell, ...]

    def without(self, finished: Callable[[TrialCell], bool]) -> Visit:
        """The same visit with only the cells that are not finished."""
        return replace(self, cells=tuple(cell for cell in self.cells if not finished(cell)))


def plan_visits(labels: Sequence[str], workloads: Sequence[str], *, blocks: int, seed: int) -> list[Visit]:
    """Every block visits every configuration once; configurations and workloads are shuffled anew in each block.

    The order depends on the arguments alone, and drift of the machine meets every configuration alike.
    """
    visits = []
    order = 0
    for block in range(blocks):
        shuffle = random.Random(f"{seed}/{block}")
        for label in shuffle.sample(labels, len(labels)):
            names = shuffle.sample(workloads, len(workloads))
            cells = [TrialCell(block=block, label=label, workload=n, order=order + i) for i, n in enumerate(names)]
            order += len(cells)
            visits.append(Visit(block, label, tuple(cells)))
    return visits
