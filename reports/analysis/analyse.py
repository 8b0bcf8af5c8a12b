"""Analyse a measured run: cells, comparisons, checks, energy and quality, in one record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from energy.carbon import Intensity
from reports.analysis.cells import cell_figures, group_cells, trial_figures
from reports.analysis.energy.fit import fit_energy_models
from reports.analysis.energy.token_costs import with_token_costs
from reports.analysis.family import compare_family
from reports.analysis.grid import Grid, GridFigures
from reports.analysis.precision import Goal, precisions, values_of
from reports.analysis.quality.perplexity import configuration_figures
from reports.analysis.quality.tasks import analyse_quality
from reports.analysis.quantities import JOULES, MODELLED_JOULES, OUTPUT_TOKENS_PER_S, QUANTITIES
from reports.analysis.records import Analysis, Cell, ConfigurationFigures, Precision, TrialFigures
from reports.analysis.wall_time import wall_time
from reports.checks.findings import check_run
from reports.checks.results import CheckResult, group_findings
from reports.runs.reading import MeasuredRun, read_run
from reports.statistics.ratios import MARGIN, Comparison


def analyse_folder(path: Path, *, margin: float = MARGIN, intensity: Intensity | None = None) -> Analysis:
    """Read a run folder and analyse it; `intensity` takes the place of what the run stated. Raises ReportError naming the path that
    cannot be read.
    """
    run = read_run(path)
    trials = [replace(one, trial=one.trial.with_carbon(intensity)) for one in run.trials]
    return analyse(replace(run, trials=trials), folder=path.resolve().name, margin=margin)


def analyse(run: MeasuredRun, *, folder: str, margin: float = MARGIN) -> Analysis:
    """Cells, comparisons and checks of a measured run; verdicts are judged at `margin`, a share."""
    run = with_token_costs(run)
    cells = [
        cell_figures(run, c.label, workload, margin) for workload in run.info.workloads for c in run.configurations
    ]
    workloads = {t.cell.workload: t.trial.workload for t in run.trials}
    trials = [trial_figures(t) for t in sorted(run.trials, key=lambda t: t.cell.order)]
    checks = group_findings(check_run(run))
    per_character = _is_per_character(checks, cells)
    return Analysis(
        folder=folder,
        info=run.info,
        margin=margin,
        configurations=_configurations(run),
        workloads=workloads,
        cells=cells,
        groups=group_cells(trials, run.info, margin),
        trials=trials,
        grid=_grid(run, trials, margin),
        per_character=per_character,
        family=compare_family(
            workloads,
            lambda workload, key: _comparisons(cells, workload, key),
            margin,
            per_character=per_character,
            looks=run.info.looks,
        ),
        precision=_precision(run, trials, margin),
        checks=checks,
        failures=run.failures,
        damaged=run.damaged,
        energy_models=fit_energy_models(run),
        energy_remedies=_energy_remedies(run),
        environment=run.environment,
        experiment=run.experiment,
        plan=run.plan,
        wall_time=wall_time(run),
        stopped_after=run.last_seen() if run.info.status == "stopped" else None,
        simulated=any(info.engine == "synthetic" for info in run.configurations),
        idles=run.idles,
        quality=analyse_quality(run.tasks, run.configurations, run.info.baseline, _cost_columns(run, cells), margin),
    )


def _is_per_character(checks: Sequence[CheckResult], cells: Sequence[Cell]) -> bool:
    """Whether a tokenizer is another than the baseline's; False where no characters were recorded, as in older runs."""
    differ = any(check.check == "tokenizers-differ" and check.outcome in {"warn", "fail"} for check in checks)
    return differ and any(cell.mean_output_characters is not None for cell in cells)


def _comparisons(cells: list[Cell], workload: str, key: str) -> dict[str, Comparison]:
    return {c.label: found for c in cells if c.workload == workload and (found := c.values[key].comparison)}


def _precision(run: MeasuredRun, trials: Sequence[TrialFigures], margin: float) -> list[Precision]:
    """Empty for a run of a fixed number of blocks."""
    if run.info.adaptive is None:
        return []
    values = values_of(trials, Goal.parse(run.info.adaptive.until), run.info.labels, run.info.workloads)
    return precisions(values, run.info.baseline, run.info.looks, margin)


def _grid(run: MeasuredRun, trials: Sequence[TrialFigures], margin: float) -> list[GridFigures]:
    """Effects and interactions of every quantity that was measured under a workload; empty without two levels of a factor."""
    grid = Grid({c.label: c.levels for c in run.configurations}, run.info.baseline)
    if not grid.factors:
        return []
    fit = [trial for trial in trials if trial.unfit is None]
    found = []
    for workload in run.info.workloads:
        for key, quantity in QUANTITIES.items():
            values: dict[str, dict[int, float]] = {}
            for trial in fit:
                if trial.workload == workload and key in trial.values:
                    values.setdefault(trial.label, {})[trial.block] = trial.values[key]
            if values:
                found.append(grid.analyse(workload, key, values, quantity.better, margin=margin, looks=run.info.looks))
    return found


def _cost_columns(run: MeasuredRun, cells: list[Cell]) -> dict[str, list[float | None]]:
    """The cost of each configuration under each workload, in the order of the configurations, without empty columns."""
    found: dict[str, list[float | None]] = {}
    for workload in run.info.workloads:
        own = {c.label: c for c in cells if c.workload == workload}
        for key in (OUTPUT_TOKENS_PER_S, JOULES, MODELLED_JOULES):
            column = [own[c.label].values[key].median for c in run.configurations]
            if any(value is not None for value in column):
                found[f"{workload}: {QUANTITIES[key].title}"] = column
    return found


def _energy_remedies(run: MeasuredRun) -> list[str]:
    """Each remedy once, in order, from trials without measured joules."""
    unmeasured = [t.trial.energy for t in run.trials if t.trial.energy.gross_joules is None]
    return list(dict.fromkeys(m.remedy for energy in unmeasured for m in energy.missing if m.remedy))


def _configurations(run: MeasuredRun) -> list[ConfigurationFigures]:
    baseline = next((c for c in run.configurations if c.label == run.info.baseline), None)
    of_baseline = baseline.quality if baseline else None
    return [configuration_figures(info, of_baseline) for info in run.configurations]
