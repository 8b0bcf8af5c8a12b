"""`prunebench run --dry-run`: the cells in order, their duration and disk use; nothing is written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

from rich.filesize import decimal

from base.figures import percent
from prunebench.experiment.file import Experiment
from prunebench.run.configurations import check_configurations
from prunebench.run.folder.choose_folder import Resume, choose_run_folder
from prunebench.run.folder.opening import changes_since
from prunebench.run.folder.resume import CellState, cell_state, extended
from prunebench.run.folder.run_writer import RunWriter
from prunebench.run.forecast.assumptions import Assumptions
from prunebench.run.forecast.forecast import Forecast, forecast
from prunebench.run.schedule import Order, schedule_visits
from prunebench.terminal.console import print_line
from reports.document.wording import duration
from reports.runs.records.cells import TrialCell
from reports.runs.records.run import RunInfo


def print_forecast(
    experiment: Experiment,
    output: Path | None,
    resume: Resume,
    assume: str | None,
    *,
    as_json: bool,
    blocks: int | None = None,
    accept_changes: bool = False,
) -> None:
    """Print what `run` would do. Raises ExperimentError naming the option to fix."""
    folder, resumed = choose_run_folder(experiment, output, resume)
    writer = RunWriter(folder)
    if not resumed:
        writer.check_new()
    else:
        changes_since(writer, experiment).require_accepted(folder, accepted=accept_changes)
    begun = writer.begun()
    experiment = extended(experiment, begun, blocks)
    states: list[CellState] = []

    def reused(cell: TrialCell) -> bool:
        states.append(cell_state(cell, writer))
        return states[-1].state == "reused"

    found = forecast_run(experiment, folder, reused, Assumptions.parse(assume), begun=begun)
    found = found.model_copy(update={"resumed": states if begun else []})
    if as_json:
        sys.stdout.write(found.model_dump_json(indent=1) + "\n")
    else:
        _print(found)


def forecast_run(
    experiment: Experiment,
    output: Path,
    finished: Callable[[TrialCell], bool],
    assumed: Assumptions,
    *,
    begun: RunInfo | None = None,
) -> Forecast:
    """The forecast of what `run` would do into `output`, where `begun` was. Raises what the checks before a run raise."""
    plan = check_configurations(experiment)
    order = Order.of_run(begun, experiment.protocol.blocks)
    every = schedule_visits(
        [planned.label for planned in plan],
        [w.name for w in experiment.workloads],
        order,
        seed=experiment.seed,
        baseline=plan[0].label,
    )
    return forecast(experiment, plan, every, order, finished=finished, place=output, assumed=assumed)


def _print(found: Forecast) -> None:
    """Print configurations, cells in order, time and disk use with the assumptions."""
    print_line(f"{found.name}: nothing is written, this is what a run would do")
    for label, words in found.configurations.items():
        print_line(f"  {label}: {words}")
    print_line(
        f"{len(found.cells)} trials in this order{f', {found.finished} are finished' if found.finished else ''}:"
    )
    for (block, label), cells in groupby(found.cells, key=lambda cell: cell[:2]):
        print_line(f"  block {block}  {label:<14} {', '.join(workload for _, _, workload in cells)}")
    for one in found.resumed:
        print_line(f"  {one.line()}")
    if found.goes_on is not None:
        print_line(found.goes_on)
    print_line(f"order {found.order}")
    print_line(found.family.words())
    shares = ", ".join(f"{what} {duration(seconds)}" for what, seconds in found.parts.items() if seconds)
    print_line(f"about {duration(found.seconds)}: {shares}")
    if found.measured_share is not None:
        print_line(
            f"about {percent(round(found.measured_share, 2))} of that is measured windows ({duration(found.window_s)})"
        )
    print_line(f"about {decimal(found.disk_bytes)} of disk, {decimal(found.free_bytes)} are free there")
    print_line(f"assumed: {'; '.join(found.assumptions)}")
