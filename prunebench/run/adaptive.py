"""Looks at a run's results, after each block: which ratios are known narrowly enough, and whether there is another block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from energy.machine import describe_machine
from prunebench.experiment.file import Experiment, ExperimentError
from prunebench.experiment.plan import Planned
from prunebench.experiment.tables.protocol import Protocol
from prunebench.run.folder.run_writer import RunWriter
from prunebench.terminal.progress import Steps
from reports.analysis.cells import trial_figures
from reports.analysis.precision import Goal, precisions, settled, values_of
from reports.analysis.quantities import QUANTITIES
from reports.analysis.records import Precision, TrialFigures
from reports.document.wording import around, duration
from reports.errors import ReportError
from reports.runs.reading import read_measured
from reports.runs.records.adaptive import Ending
from reports.runs.records.run import RunInfo
from server.engines.registry import find_engine

_ENDED = {  # before the goal, in words
    "failed": "ended: what is not known has failed in every block",
    "max_blocks": "ended at max_blocks",
    "max_hours": "ended: another block would take it past max_hours",
}


@dataclass(frozen=True)
class Look:
    """What a run knows after a number of blocks; `found` has an entry for every ratio that its goal names."""

    goal: Goal
    blocks: int
    most: int
    found: Sequence[Precision]

    @property
    def settled(self) -> set[str]:
        """The labels that need no more blocks."""
        return settled(self.found, self.goal.within)

    def widest(self, labels: set[str]) -> Precision | None:
        """The ratio of these that is known least; one without an interval before all others."""
        own = [one for one in self.found if one.label in labels]
        return max(own, key=lambda one: math.inf if one.half_width is None else one.half_width, default=None)

    def blocks_for(self, label: str) -> int:
        """About how many blocks in all it takes: a half-width falls with their square root."""
        widest = self.widest({label})
        if widest is None or widest.half_width is None:
            return self.most
        needed = self.blocks * (math.log1p(widest.half_width) / math.log1p(self.goal.within)) ** 2
        return min(self.most, max(self.blocks + 1, math.ceil(needed)))

    def visits_left(self, labels: set[str]) -> int:
        """About how many, with the baseline's, until these are known."""
        needed = [self.blocks_for(label) - self.blocks for label in labels]
        return sum(needed) + max(needed, default=0)

    def line(self, labels: set[str], seconds: float, ended: Ending | None) -> str:
        """For people: how narrow the ratios of `labels` are, how long it still takes (no `seconds`: it has ended), and why it ended early."""
        known = [self._half_width(label) for label in dict.fromkeys(one.label for one in self.found) if label in labels]
        ready = len({one.label for one in self.found} - labels)
        parts = [", ".join(known), f"{ready} settled" if ready else ""]
        more = max((self.blocks_for(label) - self.blocks for label in labels), default=0)
        time_left = f", {duration(seconds)}" if seconds else ""
        parts.append(f"about {more} more block{'s' * (more != 1)}{time_left}" if more else "")
        parts.append(_ENDED.get(ended or "", ""))
        return f"after {self.blocks} blocks, of {around(self.goal.within)}: {'; '.join(filter(None, parts))}"

    def _half_width(self, label: str) -> str:
        widest = self.widest({label})
        if widest is None or widest.half_width is None:
            return f"{label} no interval"
        return f"{label} {around(widest.half_width)} ({QUANTITIES[widest.quantity].title}, {widest.workload})"


def check_goal(experiment: Experiment, plan: Sequence[Planned]) -> None:
    """Raises ExperimentError where `protocol.until` names joules that nothing here measures; other quantities show in the first block."""
    if experiment.protocol.until is None:
        return
    for key in Goal.parse(experiment.protocol.until).quantities:
        if key.startswith("modelled_"):
            missing = experiment.energy.modelled_watts_per_core is None
            why = "energy.modelled_watts_per_core is not set" if missing else None
        else:
            why = _no_meter(experiment, plan) if QUANTITIES[key].unit in {"J", "W"} else None
        if why:
            raise ExperimentError(f"protocol.until: {key} cannot be measured here: {why}")


def _no_meter(experiment: Experiment, plan: Sequence[Planned]) -> str | None:
    """Why no trial can have joules; None where one may."""
    if experiment.energy.source == "none":
        return "energy.source is none"
    for one in (planned.asked for planned in plan):
        engine = None if one.engine is None else find_engine(one.engine)
        simulated = engine is not None and engine.known_times is not None
        if one.url or one.command or one.energy or simulated or experiment.energy.source not in {"auto", "local"}:
            return None  # a meter that is not this machine's
    return describe_machine().reason


class Looks:
    """The looks at one run. A trial is read once."""

    def __init__(self, protocol: Protocol, writer: RunWriter) -> None:
        self._goal = Goal.parse(protocol.until or "")
        self._protocol = protocol
        self._writer = writer
        self._figures: dict[str, TrialFigures] = {}
        self._reasons: dict[str, str] = {}  # why a quantity has no value

    def require_measured(self) -> None:
        """Raises ExperimentError for a quantity of the goal that no trial so far has."""
        self._read()
        known = {key for figures in self._figures.values() for key in figures.values}
        missing = next((key for key in self._goal.quantities if key not in known), None)
        if self._figures and missing is not None:
            raise ExperimentError(f"protocol.until: {missing} cannot be measured here: {self._reasons[missing]}")

    def look(self, info: RunInfo) -> Look:
        """After all blocks so far."""
        self._read()
        values = values_of(self._figures.values(), self._goal, info.labels, info.workloads)
        return Look(self._goal, info.blocks, self._protocol.max_blocks, precisions(values, info.baseline, info.looks))

    def can_be_known(self, labels: set[str], baseline: str) -> set[str]:
        """Those of which another block can tell more: neither they nor the baseline have failed in every block so far."""
        measured = {figures.label for figures in self._figures.values()}
        return labels & measured if baseline in measured else set()

    def ending(self, look: Look, left: set[str], useful: set[str], seconds: float) -> Ending | None:
        """Why there is no other block, which would end `seconds` after the attempt began; None: there is one.

        `left` are the labels that are not known narrowly enough, `useful` those of them of which a block can tell more.
        """
        if not left:
            return "reached"
        if not useful:
            return "failed"
        if look.blocks >= self._protocol.max_blocks:
            return "max_blocks"
        hours = self._protocol.max_hours
        late = hours is not None and seconds > 3600 * hours
        return "max_hours" if late else None

    def _read(self) -> None:
        for folder in self._writer.folder.trial_folders():
            if folder.name not in self._figures:
                try:
                    measured = read_measured(folder)
                except ReportError:  # the report names it
                    continue
                self._figures[folder.name] = trial_figures(measured)
                for key in self._goal.quantities:
                    reason = QUANTITIES[key].of(measured.trial, measured.metrics).reason
                    self._reasons[key] = reason or self._reasons.get(key, "it has no value")


def show(look: Look, left: set[str], seconds: float, ended: Ending | None, steps: Steps) -> None:
    """Print a line of the look, with why it is the last one, and have the bar below show how near the widest interval is to the goal."""
    steps.print(look.line(left, seconds, ended))
    widest = look.widest(left)
    if widest is not None and widest.half_width is not None:
        share = min(1.0, (math.log1p(look.goal.within) / math.log1p(widest.half_width)) ** 2)
        still = f", about {duration(seconds)} left" if seconds else ""
        steps.aim(share, f"{widest.label} {around(widest.half_width)} of {around(look.goal.within)}{still}")
