"""Many runs at a glance: a row for each, and those that can be compared in one picture.

Runs are comparable whose baselines are alike: the same checkpoint, engine and settings on the same machine. In a group a picture has
the ratios under one workload, with the same settings in each run; every ratio is to the baseline of its own run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.compare.summary import RunSummary, Shared, SummaryRatio
from reports.document.wording import SIMULATED


@dataclass(frozen=True)
class Row:
    """One run. `title` is the name of its folder, `page` its report, relative to the index; None: it has none."""

    title: str
    summary: RunSummary
    page: str | None

    @property
    def status(self) -> str:
        """With what is simulated."""
        return self.summary.status + (f", {SIMULATED}" if self.summary.simulated else "")


@dataclass(frozen=True)
class Compared:
    """Ratios of several runs under one workload, each with its run."""

    workload: str
    quantity: str
    ratios: Sequence[tuple[Row, SummaryRatio]]


@dataclass(frozen=True)
class Group:
    """Comparable runs, two or more."""

    rows: Sequence[Row]

    @property
    def words(self) -> str:
        """What they have in common."""
        first = self.rows[0].summary
        return f"{first.model} on {first.machine}, baseline served by {first.engine}"

    def compared(self) -> list[Compared]:
        """What more than one run measured."""
        found: dict[tuple[str, str, str], list[tuple[Row, SummaryRatio]]] = {}
        for row in self.rows:
            for one in row.summary.ratios or ():
                if one.comparison.low is not None:
                    found.setdefault((one.purpose, row.summary.loads[one.workload], one.quantity), []).append(
                        (row, one)
                    )
        return [
            Compared(own[0][1].workload, quantity, own)
            for (_, _, quantity), own in found.items()
            if len({id(row) for row, _ in own}) > 1
        ]


def groups_of(rows: Sequence[Row]) -> list[Group]:
    """The largest first."""
    found: dict[Shared, list[Row]] = {}
    for row in rows:
        if row.summary.shared is not None:
            found.setdefault(row.summary.shared, []).append(row)
    return [Group(own) for own in sorted(found.values(), key=len, reverse=True) if len(own) > 1]
