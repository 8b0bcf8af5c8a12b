"""Read trials outside a run: folders of `prunebench load`, and results of other tools."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from energy.records import PowerTimeline
from loadgen.metrics.measuring.measure import read_metrics
from loadgen.metrics.metrics import TrialMetrics
from loadgen.records.checksums import find_changed, read_sums
from loadgen.records.parquet import read_parquet
from loadgen.records.schema import Trial
from loadgen.sweeps.points import Sweep
from reports.errors import ReportError
from reports.runs.other_tools import import_result
from reports.runs.records.configuration import ConfigurationInfo
from reports.runs.run_folder import RunFolder, describe_error, read_record


@dataclass(frozen=True)
class Load:
    """One trial with its figures. `rows` are those of requests.parquet, one dictionary per request."""

    name: str
    trial: Trial
    metrics: TrialMetrics
    rows: list[dict[str, Any]]
    power: PowerTimeline | None = None  # None: not recorded
    configuration: ConfigurationInfo | None = None  # None: not of a run
    tool: str = "prunebench"  # that measured it
    tool_version: str | None = None  # None: not recorded


@dataclass(frozen=True)
class Loads:
    """The trials of one path; `sweep` if they are its points."""

    path: Path
    trials: list[Load]
    sweep: Sweep | None = None


def is_load(path: Path) -> bool:
    """Whether this module, and not `reports.runs.reading`, reads the path."""
    return (
        path.is_file() or any((path / name).is_file() for name in ("trial.json", "sweep.json")) or bool(_beside(path))
    )


def _beside(path: Path) -> list[Path]:
    """The folders of several loads in one, such as those of `prunebench load URL` alone."""
    return [] if (path / "run.json").is_file() else sorted(file.parent for file in path.glob("*/trial.json"))


def read_loads(path: Path) -> Loads:
    """Read a trial, several, a sweep, a run's trials, or another tool's result. Raises ReportError naming an unreadable file."""
    try:
        if path.is_file():
            found = import_result(path)
            names = [path.stem] if len(found) == 1 else [f"{path.stem}-{n}" for n in range(1, len(found) + 1)]
            return Loads(
                path, [Load(n, i.trial, i.metrics, i.rows, tool=i.tool) for n, i in zip(names, found, strict=True)]
            )
        if (path / "trial.json").is_file():
            return Loads(path, [_read(path.name, path)])
        if (path / "sweep.json").is_file():
            sweep = read_record(path / "sweep.json", Sweep)
            return Loads(path, [_read(point.folder, path / point.folder) for point in sweep.points], sweep)
        if (path / "run.json").is_file():
            return Loads(path, _of_run(RunFolder(path)))
        if folders := _beside(path):
            return Loads(path, [_read(folder.name, folder) for folder in folders])
    except (OSError, ValueError, KeyError) as error:
        raise ReportError(f"{path}: cannot be read: {describe_error(error)}") from None
    raise ReportError(
        f"{path}: is no run, no load, and no result of another tool: it has no run.json, trial.json or sweep.json"
    )


def _of_run(run: RunFolder) -> list[Load]:
    version, infos = run.info().prunebench_version, {info.label: info for info in run.configurations()}
    return [
        replace(
            _read(stored.folder.name, stored.folder),
            configuration=infos.get(stored.cell.label),
            tool_version=version,
        )
        for stored in run.trials()
    ]


def _read(name: str, folder: Path) -> Load:
    sums = read_sums(folder)
    if changed := find_changed(folder, sums or {}):
        raise ReportError(changed)
    trial = read_record(folder / "trial.json", Trial)
    kept = folder / "power.json"
    power = read_record(kept, PowerTimeline) if kept.exists() else None
    parquet = folder / "requests.parquet"
    try:
        rows = [row for batch in read_parquet(parquet) for row in batch.rows()]
        return Load(name, trial, read_metrics(trial, parquet), rows, power)
    except Exception as error:
        if parquet.name in (sums or {}):  # the file is intact, so this is a bug
            raise
        raise ReportError(f"{parquet}: cannot be read: {describe_error(error)}") from None
