"""A run folder, read and measured: everything the analysis works on, finished run or not."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from energy.idle import idle_spread, subtract_idle
from energy.records import PowerTimeline
from loadgen.metrics import TrialMetrics, read_metrics
from loadgen.records import Trial
from reports.errors import ReportError
from reports.fleet_records import PLAN_NAME, FleetPlan
from reports.run_folder import (
    ConfigurationInfo,
    FailedCell,
    RunFolder,
    RunInfo,
    StoredTrial,
    TaskResult,
    TrialCell,
    VisitIdle,
)


@dataclass(frozen=True)
class MeasuredTrial:
    """One trial with its place in the experiment and its figures."""

    cell: TrialCell
    trial: Trial
    metrics: TrialMetrics
    power: PowerTimeline | None  # None in a trial that kept none


@dataclass(frozen=True)
class MeasuredRun:
    """What is on disk of a run. `experiment` is the experiment file's text, empty if it is not there."""

    info: RunInfo
    configurations: list[ConfigurationInfo]
    trials: list[MeasuredTrial]
    failures: list[FailedCell]
    environment: dict[str, Any]
    experiment: str
    tasks: dict[str, list[TaskResult]]  # quality tasks, by label
    plan: FleetPlan | None = None
    idles: list[VisitIdle] = field(default_factory=list)  # around visits; by the rule "configuration" there are none

    def by_block(self, label: str, workload: str) -> dict[int, MeasuredTrial]:
        """The trials of one cell."""
        return {t.cell.block: t for t in self.trials if (t.cell.label, t.cell.workload) == (label, workload)}


def read_run(path: Path) -> MeasuredRun:
    """Read and measure a run. Raises ReportError naming the path that is missing or broken."""
    folder = RunFolder(path)
    if not (path / "run.json").is_file():
        raise ReportError(f"{path} is not a run folder: it has no run.json")
    try:
        info, configurations, stored = folder.info(), folder.configurations(), list(folder.trials())
        failures, environment = folder.failures(), folder.environment()
        idles = folder.idles()
        tasks = {c.label: folder.task_results(c.label) for c in configurations}
        plan = path / PLAN_NAME
        planned = FleetPlan.model_validate_json(plan.read_bytes()) if plan.is_file() else None
    except (OSError, ValueError) as error:
        raise ReportError(f"{path}: a file of this run cannot be read: {_one_line(error)}") from None
    known = {c.label for c in configurations}
    for trial in stored:
        if trial.cell.label not in known:
            raise ReportError(f"{trial.folder}: there is no configurations/{trial.cell.label}.json for this trial")
    experiment = path / "experiment.toml"
    return MeasuredRun(
        info=info,
        configurations=configurations,
        trials=_with_net([_read_trial(trial) for trial in stored], idles),
        failures=failures,
        environment=environment,
        experiment=experiment.read_text("utf-8", errors="replace") if experiment.is_file() else "",
        tasks=tasks,
        plan=planned,
        idles=idles,
    )


def _with_net(trials: list[MeasuredTrial], idles: list[VisitIdle]) -> list[MeasuredTrial]:
    """Net joules by the idle power of each trial's own visit; trials of no such visit keep what they were recorded with.

    Only here are all measurements of the run together, from which the drift between them is known.
    """
    spread = idle_spread([(idle.before, idle.after) for idle in idles])

    def net(measured: MeasuredTrial) -> MeasuredTrial:
        covering = [idle for idle in idles if idle.covers(measured.cell)]
        if not covering:
            return measured
        own = min(covering, key=lambda idle: len(idle.workloads))  # the latest attempt: fewer were left to measure
        energy = subtract_idle(measured.trial.energy, own.before, own.after, spread)
        return replace(measured, trial=measured.trial.model_copy(update={"energy": energy}))

    return [net(measured) for measured in trials]


def _read_trial(stored: StoredTrial) -> MeasuredTrial:
    try:
        trial = Trial.model_validate_json((stored.folder / "trial.json").read_bytes())
        metrics = read_metrics(trial, stored.folder / "requests.parquet")
        kept = stored.folder / "power.json"
        power = PowerTimeline.model_validate_json(kept.read_bytes()) if kept.exists() else None
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise ReportError(f"{stored.folder}: this trial cannot be read: {_one_line(error)}") from None
    return MeasuredTrial(stored.cell, trial, metrics, power)


def _one_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{error.title}: {'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}"
    return str(error).partition("\n")[0]
