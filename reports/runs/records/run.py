"""What a run measures, and how far it is."""

from __future__ import annotations

from typing import Literal

from base.records import Record
from loadgen.records.schema import WindowRules
from pruner.output.manifest import SourceFile
from reports.runs.records.adaptive import Adaptive

OrderRule = Literal["shuffled", "balanced"]
IdleRule = Literal["configuration", "visit"]
# "stopped" is never written: reading says so of a run that is "running" and has no runner.
Status = Literal["prepared", "running", "stopped", "interrupted", "failed", "complete"]


class Extension(Record):
    """Blocks added to a run that had begun."""

    at: str | None = None  # ISO 8601 UTC; None: recorded before this was
    before: int  # blocks
    after: int
    trials: int | None = None  # finished by then, whose results could be looked at; None: recorded before this was


class RunInfo(Record):
    """run.json: what the run measures, and its status."""

    schema_version: Literal[1] = 1
    name: str
    created_at: str  # ISO 8601 UTC
    prunebench_version: str
    baseline: str  # label
    labels: list[str]  # in the order of the experiment, widest first
    workloads: list[str]
    blocks: int
    seed: int
    window_rules: WindowRules = 1  # for all its trials; 1: older than the later rules
    status: Status
    order: OrderRule = "shuffled"  # of the cells; older runs were shuffled
    # Planned blocks when the run began, then the total after each addition; empty: `blocks` from the start.
    block_counts: tuple[int, ...] = ()
    # Of the unpruned checkpoint when the run began; empty: older record.
    checkpoint: tuple[SourceFile, ...] = ()
    # Changes accepted by --accept-changes, in words.
    accepted_changes: tuple[str, ...] = ()
    # When idle power is measured for net joules: once per configuration, or around every visit.
    idle_rule: IdleRule = "configuration"
    # Wall time of all attempts so far, with pruning and quality, without the report; None: one was killed, or an older record.
    wall_s: float | None = None
    # Every addition of blocks, the first one first; older records have `block_counts` alone.
    extensions: tuple[Extension, ...] = ()
    # How its results decide its number of blocks: `blocks` are those so far, and those beyond `block_counts` were added one by one.
    # None: that is fixed, or an older record.
    adaptive: Adaptive | None = None

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of blocks after which its results could decide whether there are more; none if they could not."""
        seen = [one.before for one in self.extended()]
        if self.adaptive is not None:
            return (*seen, *range(self.block_counts[-1], self.blocks + 1))
        return (*seen, self.blocks) if seen else ()

    def blocks_of(self, label: str) -> int:
        """The number of blocks that a configuration is part of."""
        return self.adaptive.settled.get(label, self.blocks) if self.adaptive else self.blocks

    @property
    def planned_trials(self) -> int:
        """Of all blocks so far."""
        return len(self.workloads) * sum(map(self.blocks_of, self.labels))

    @property
    def state(self) -> str:
        """The status as the end of a sentence about the run."""
        return "stopped without ending" if self.status == "stopped" else f"is {self.status}"

    def extended(self) -> list[Extension]:
        """Additions of blocks by hand after results could be seen."""
        known = {one.after: one for one in self.extensions}
        added = zip(self.block_counts, self.block_counts[1:], strict=False)
        every = [known.get(after, Extension(before=before, after=after)) for before, after in added]
        return [one for one in every if one.trials != 0]
