"""How long the cells of a run will take and how much disk they will use.

Every figure is an estimate, with its assumptions in words. What can be known is not assumed: widths and bytes of the
checkpoints, the length of loads that have one, the rests and idle measurements, the times of the synthetic engine.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from base.records import Record
from loadgen.client.warmup import FEWEST_GROUPS
from prunebench.experiment.file import Experiment
from prunebench.experiment.plan import Planned
from prunebench.experiment.smallest_effect import FamilyForecast
from prunebench.experiment.tables.protocol import Protocol
from prunebench.experiment.treatment import treatment
from prunebench.run.describe import AFTER_LOAD_S, visit_idle
from prunebench.run.folder.resume import CellState
from prunebench.run.forecast.assumptions import Assumptions, ServerTimes, server_times
from prunebench.run.forecast.trial_estimate import TrialEstimate
from prunebench.run.schedule import Order, Visit
from prunebench.run.serving import starts_together
from prunebench.servers.run_servers import starts_at_once
from reports.analysis.order import describe_order, imbalance
from reports.runs.records.cells import TrialCell

_BYTES_A_REPORT = 12_000_000


class Forecast(Record):
    """What a run would do. `cells` are [block, label, workload] in order, those that are finished left out."""

    name: str
    configurations: dict[str, str]  # label -> in words
    cells: list[tuple[int, str, str]]
    order: str  # its rule, and the remaining effect of a linear drift, in words
    imbalance: float  # the largest distance of a configuration's mean place from the baseline's, in blocks
    goes_on: str | None = None  # how results add blocks to these, in words
    finished: int
    seconds: float
    parts: dict[str, float]  # what the seconds are spent on
    window_s: float  # measured windows: the load without its ramps
    measured_share: float | None  # of the seconds; None: nothing is left to do
    disk_bytes: int  # still to be written
    free_bytes: int
    assumptions: list[str]
    family: FamilyForecast
    resumed: list[CellState] = []  # what --resume does with each cell of a run that was begun


def forecast(
    experiment: Experiment,
    plan: Sequence[Planned],
    every: Sequence[Visit],
    order: Order,
    *,
    finished: Callable[[TrialCell], bool],
    place: Path,
    assumed: Assumptions,
) -> Forecast:
    """Add up what the visits of `every` that are not finished will take. `place` is where the run folder will be."""
    visits = [rest for visit in every if (rest := visit.without(finished)).cells]
    planned = [cell for visit in every for cell in visit.cells]
    residual = imbalance(planned, plan[0].label)
    served = {one.label: server_times(one.asked, assumed) for one in plan}
    pruned = {one.pruning.place: one.pruning.row.bytes for one in plan if one.pruning}
    cells = [cell for visit in visits for cell in visit.cells]
    workloads = {w.name: w for w in experiment.workloads}
    trials = [TrialEstimate(workloads[cell.workload], served[cell.label].times) for cell in cells]
    energy, protocol = experiment.energy, experiment.protocol
    starts = [v.label for v in visits]
    if experiment.serve.keep_servers:
        starts = [*dict.fromkeys(starts)]
    fewest = FEWEST_GROUPS if protocol.warmup_limit_s else 0
    # Before and after every visit, once it is quiet; right after the last load of a configuration there is no rest but the power of
    # that; and without a model, where none stays loaded beside it.
    rest_s, length_s = visit_idle(experiment)
    around = len(visits) * 2 * (rest_s + length_s)
    once = min(energy.idle_s, AFTER_LOAD_S) - rest_s + (0 if experiment.serve.keep_servers else energy.idle_s)
    parts = {
        "starting servers": _starting_s(experiment, [(label, served[label].start_s) for label in starts]),
        "idle power": around + len({v.label for v in visits}) * once,
        "rests": len(cells) * protocol.cooldown_s,
        "warm-up": sum(trial.warmup_s(fewest) for trial in trials),
        "load": sum(trial.load_s for trial in trials),
    }
    window_s = sum(trial.window_s for trial in trials)
    return Forecast(
        name=experiment.name,
        configurations={one.label: _what(one, plan[0]) for one in plan},
        cells=[(c.block + 1, c.label, c.workload) for c in cells],
        order=describe_order(
            order.rule,
            residual,
            blocks=None if protocol.until else order.counts[-1],
            configurations=len({v.label for v in every}),
        ),
        imbalance=residual,
        goes_on=_goes_on(protocol),
        finished=len(planned) - len(cells),
        seconds=sum(parts.values()),
        parts=parts,
        window_s=window_s,
        measured_share=window_s / sum(parts.values()) if cells else None,
        disk_bytes=sum(trial.disk_bytes for trial in trials) + _BYTES_A_REPORT + sum(pruned.values()),
        free_bytes=shutil.disk_usage(_existing(place)).free,
        assumptions=_assumptions(experiment, served.values()),
        family=FamilyForecast.of(experiment.workloads, len(plan) - 1, protocol.blocks, joules=energy.source != "none"),
    )


def _goes_on(protocol: Protocol) -> str | None:
    if protocol.until is None:
        return None
    hours = f", {protocol.max_hours:g} h at most" if protocol.max_hours else ""
    return f"then one block at a time until {protocol.until}, up to {protocol.max_blocks} blocks{hours}; known configurations are left out"


def _what(one: Planned, baseline: Planned) -> str:
    """A configuration in words, with its treatment where its size does not say it all."""
    treated = [words for key, words in treatment(one, baseline).items() if key not in {"width", "layers", "server"}]
    return "; ".join([one.words(), *treated])


def _assumptions(experiment: Experiment, served: Iterable[ServerTimes]) -> list[str]:
    words = [*dict.fromkeys(words for one in served for words in one.words)]
    if experiment.protocol.warmup_limit_s:
        words.append(f"a warm-up is steady after {FEWEST_GROUPS} groups")
    uncounted = "pruning" if experiment.quality is None else "pruning, quality"
    words.append(f"{uncounted} and the report are not counted")
    return words


def _starting_s(experiment: Experiment, starts: Sequence[tuple[str, float]]) -> float:
    """Of servers one after another, and of those that start side by side as many at a time as do."""
    together = [start_s for label, start_s in starts if starts_together(experiment, label)]
    apart = [start_s for label, start_s in starts if not starts_together(experiment, label)]
    return sum(apart) + math.ceil(len(together) / starts_at_once()) * max(together, default=0.0)


def _existing(path: Path) -> Path:
    """The nearest folder above that is there."""
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.is_dir())
