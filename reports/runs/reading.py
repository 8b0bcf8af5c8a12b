"""Read and measure a run folder, finished or not: the input of the analysis."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from energy.idle import idle_spread, subtract_idle
from energy.records import PowerTimeline
from loadgen.metrics.measuring.measure import read_metrics
from loadgen.metrics.metrics import TrialMetrics
from loadgen.records.schema import Trial
from reports.errors import ReportError
from reports.runs.fleet_plan import PLAN_NAME, FleetPlan
from reports.runs.records.cells import DamagedTrial, FailedCell, TrialCell, VisitIdle
from reports.runs.records.configuration import ConfigurationInfo
from reports.runs.records.quality import TaskResult
from reports.runs.records.run import RunInfo
from reports.runs.run_folder import RunFolder, describe_error, open_trial, read_record


@dataclass(frozen=True)
class MeasuredTrial:
    """One trial with its place in the experiment and its figures."""

    cell: TrialCell
    trial: Trial
    metrics: TrialMetrics
    power: PowerTimeline | None  # None: not recorded


@dataclass(frozen=True)
class MeasuredRun:
    """A run as read from disk. `experiment` is the text of the experiment file, empty without one."""

    info: RunInfo
    configurations: list[ConfigurationInfo]
    trials: list[MeasuredTrial]
    failures: list[FailedCell]
    environment: dict[str, Any]
    experiment: str
    tasks: dict[str, list[TaskResult]]  # quality tasks, by label
    plan: FleetPlan | None = None
    idles: list[VisitIdle] = field(default_factory=list)  # around visits; empty under the idle rule "configuration"
    damaged: list[DamagedTrial] = field(default_factory=list)  # left out of `trials`

    def last_seen(self) -> datetime:
        """When the last finished trial ended, or the run began: it was under way then."""
        ends = [datetime.fromisoformat(self.info.created_at)]
        for trial in (measured.trial for measured in self.trials):
            warmup_s = trial.warmup.seconds if trial.warmup else 0.0
            load_s = (trial.last_end_ns - trial.first_sent_ns) / 1e9
            ends.append(datetime.fromisoformat(trial.started_at) + timedelta(seconds=warmup_s + load_s))
        return max(ends)

    def by_block(self, label: str, workload: str) -> dict[int, MeasuredTrial]:
        """The trials of one cell."""
        return {t.cell.block: t for t in self.trials if (t.cell.label, t.cell.workload) == (label, workload)}


def read_run(path: Path) -> MeasuredRun:
    """Read and measure a run without its damaged trials, which are listed. Raises ReportError naming any other damaged file."""
    folder = RunFolder(path)
    if not (path / "run.json").is_file():
        raise ReportError(f"{path} is not a run folder: it has no run.json")
    info, configurations, idles = folder.info(), folder.configurations(), folder.idles()
    if info.status == "running" and not folder.has_runner():  # it was killed, and could not record that
        info = info.model_copy(update={"status": "stopped"})
    if info.baseline not in info.labels:
        raise ReportError(f"{path / 'run.json'}: the baseline {info.baseline} is not among its labels")
    trials, damaged = _read_trials(folder)
    for trial in trials:
        _require_known(path, trial.cell, info, configurations)
    plan, experiment = path / PLAN_NAME, path / "experiment.toml"
    return MeasuredRun(
        info=info,
        configurations=configurations,
        trials=_with_net(trials, idles),
        failures=folder.failures(),
        environment=folder.environment(),
        experiment=experiment.read_text("utf-8", errors="replace") if experiment.is_file() else "",
        tasks={c.label: folder.task_results(c.label) for c in configurations},
        plan=read_record(plan, FleetPlan) if plan.is_file() else None,
        idles=idles,
        damaged=damaged,
    )


def _read_trials(folder: RunFolder) -> tuple[list[MeasuredTrial], list[DamagedTrial]]:
    trials, damaged = [], []
    for path in folder.trial_folders():
        try:
            trials.append(read_measured(path))
        except ReportError as error:
            damaged.append(DamagedTrial(name=path.name, reason=f"{error}"))
    return trials, damaged


def _require_known(path: Path, cell: TrialCell, info: RunInfo, configurations: list[ConfigurationInfo]) -> None:
    if cell.label not in {c.label for c in configurations}:
        raise ReportError(f"{path}: there is no configurations/{cell.label}.json, and there are trials of {cell.label}")
    if cell.workload not in info.workloads:
        raise ReportError(f"{path / 'run.json'}: does not have the workload {cell.workload}, of which there are trials")


def _with_net(trials: list[MeasuredTrial], idles: list[VisitIdle]) -> list[MeasuredTrial]:
    """Compute net joules from the idle power of each trial's visit; a trial without a visit keeps its recorded ones.

    The drift of idle power is estimated from all visits of the run, so this needs the whole run.
    """
    spread = idle_spread([(idle.before, idle.after) for idle in idles])

    def net(measured: MeasuredTrial) -> MeasuredTrial:
        covering = [idle for idle in idles if idle.covers(measured.cell)]
        if not covering:
            return measured
        # The latest attempt: it covers fewer workloads, or the same ones again.
        own = min(covering, key=lambda idle: (len(idle.workloads), -idle.attempt))
        energy = subtract_idle(measured.trial.energy, own.before, own.after, spread)
        return replace(measured, trial=measured.trial.model_copy(update={"energy": energy}))

    return [net(measured) for measured in trials]


def read_measured(folder: Path) -> MeasuredTrial:
    """Verify, read and measure one trial. Raises ReportError naming a damaged file."""
    stored = open_trial(folder)
    trial = read_record(folder / "trial.json", Trial)
    kept = folder / "power.json"
    power = read_record(kept, PowerTimeline) if kept.exists() else None
    parquet = folder / "requests.parquet"
    if not parquet.exists():
        raise ReportError(f"{parquet}: is missing")
    try:
        metrics = read_metrics(trial, parquet)
    except Exception as error:
        if stored.verified:  # the file is intact, so this is a bug
            raise
        raise ReportError(f"{parquet}: cannot be read: {describe_error(error)}") from None
    return MeasuredTrial(stored.cell, trial, metrics, power)
