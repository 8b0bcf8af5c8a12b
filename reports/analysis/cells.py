"""A measured run as the figures of its report: a cell for every configuration and workload, against the baseline.

This is what `report.json` holds, and the only thing the table, the sentences, the plots and the pages are made from.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from base.records import Record
from loadgen.metrics.backlog import Backlog
from loadgen.metrics.latencies import FloatArray, percentiles
from loadgen.workloads.base import Workload
from reports.analysis.energy_fit import fit_energy_models
from reports.analysis.energy_model import EnergyModel
from reports.analysis.family import FamilyComparison, compare_family
from reports.analysis.power import PowerFigures, power_figures
from reports.analysis.quality import QualityFigures, analyse_quality
from reports.analysis.quantities import JOULES, MODELLED_JOULES, OUTPUT_TOKENS_PER_S, QUANTITIES, Amount, Quantity
from reports.analysis.windows import unfit, window_words
from reports.checks.findings import check_run
from reports.checks.results import CheckResult, group_findings
from reports.runs.fleet_plan import FleetPlan
from reports.runs.reading import MeasuredRun, MeasuredTrial, read_run
from reports.runs.records import ConfigurationInfo, DamagedTrial, FailedCell, RunInfo, VisitIdle
from reports.statistics.block_percentiles import percentiles_over
from reports.statistics.failures import AMONG_FAILED, Failures, judge_failures
from reports.statistics.percentiles import Percentile
from reports.statistics.ratios import MARGIN, Comparison, Interval, compare, geometric_mean

# The percentiles a distribution is drawn through: every one, and the tails more finely.
TAILS = (50, 90, 95, 99)
LEVELS = (0.0, 0.1, 0.5, *range(1, 100), 99.5, 99.9, 100.0)


class CellValue(Record):
    """One quantity of one cell: the median over its trials, their geometric mean with its interval, and the comparison with the baseline.

    `comparison` is None for the baseline itself. `reason` says why there is no median, or why some trials have no value.
    """

    median: float | None
    trials: int
    mean: Interval | None  # None where not every trial has a positive value
    comparison: Comparison | None
    reason: str | None


class Cell(Record):
    """One configuration under one workload."""

    label: str
    workload: str
    trials: int
    requests: int
    failed_requests: int
    mean_prompt_tokens: float | None
    mean_output_tokens: float | None
    energy_sources: list[str]  # of measured joules
    modelled_basis: list[str]
    windows: list[str]  # by which rules they were cut
    offered_rate: float | None  # requests sent per second of the window, open loops; median over the trials
    saturated: int  # trials in which requests piled up
    energy_uncertainty: float | None  # of the joules, 95 % half-width, largest share over the trials
    net_uncertainty: float | None = None  # of net joules: that of gross joules and of the idle power subtracted
    values: dict[str, CellValue]
    # Of ttft_ms, tpot_ms and e2e_ms: TAILS with intervals, and values at LEVELS over the requests of all trials,
    # of the highest of which there are none where they lie among failed requests.
    percentiles: dict[str, list[Percentile]]
    distributions: dict[str, list[float]]


class TrialFigures(Record):
    """One trial: where it stood in the run, and its quantities. A quantity it lacks is absent."""

    block: int
    label: str
    workload: str
    order: int
    started_at: str
    window_s: float
    unfit: str | None  # why no verdict may rest on it
    values: dict[str, float]
    power: PowerFigures | None  # None: not kept, or no meter
    backlog: Backlog | None = None  # of an open loop; None: another load, or an earlier window rule
    mean_ttft_ms: float | None = None  # of completed requests; beside the median: with unlike prompts only means add up


class ConfigurationFigures(Record):
    """What is known of a configuration whatever the load."""

    info: ConfigurationInfo
    perplexity_ratio: float | None
    perplexity_reason: str | None  # why there is no perplexity, or no ratio


class Analysis(Record):
    """Everything a report says about one run."""

    folder: str  # the run folder's name
    info: RunInfo
    margin: float  # of every verdict
    configurations: list[ConfigurationFigures]
    workloads: dict[str, Workload]  # of which there is a trial
    cells: list[Cell]
    trials: list[TrialFigures]
    family: list[FamilyComparison]  # what the advice rests on, with intervals that hold together
    checks: list[CheckResult]
    failures: list[FailedCell]
    damaged: list[DamagedTrial] = []  # trials that are left out
    energy_models: list[EnergyModel]  # of configurations and loads with measured joules
    energy_remedies: list[str]  # what would let this machine measure what it did not; empty if it measured
    environment: dict[str, Any]
    experiment: str
    quality: QualityFigures | None = None  # None: no quality task was asked
    idles: list[VisitIdle] = []  # idle power around each visit, where it was measured so
    plan: FleetPlan | None = None  # None: nobody asked what a demand would take

    def cell(self, label: str, workload: str) -> Cell:
        """The cell of a configuration that was started. Raises KeyError for another."""
        for cell in self.cells:
            if (cell.label, cell.workload) == (label, workload):
                return cell
        raise KeyError((label, workload))

    def by_block(self, label: str, workload: str, key: str) -> dict[int, float]:
        """One quantity of one cell in every block that has it and may be compared."""
        trials = (t for t in self.trials if (t.label, t.workload) == (label, workload))
        return {t.block: t.values[key] for t in trials if key in t.values and t.unfit is None}


def analyse_folder(path: Path, *, margin: float = MARGIN) -> Analysis:
    """Read a run folder and analyse it. Raises ReportError naming the path that cannot be read."""
    return analyse(read_run(path), folder=path.resolve().name, margin=margin)


def analyse(run: MeasuredRun, *, folder: str, margin: float = MARGIN) -> Analysis:
    """Cells, comparisons and checks of a measured run; verdicts are judged at `margin`, a share."""
    cells = [_cell(run, c.label, workload, margin) for workload in run.info.workloads for c in run.configurations]
    workloads = {t.cell.workload: t.trial.workload for t in run.trials}
    return Analysis(
        folder=folder,
        info=run.info,
        margin=margin,
        configurations=_configurations(run),
        workloads=workloads,
        cells=cells,
        trials=[_trial(t) for t in sorted(run.trials, key=lambda t: t.cell.order)],
        family=compare_family(workloads, lambda workload, key: _comparisons(cells, workload, key), margin),
        checks=group_findings(check_run(run)),
        failures=run.failures,
        damaged=run.damaged,
        energy_models=fit_energy_models(run),
        energy_remedies=_energy_remedies(run),
        environment=run.environment,
        experiment=run.experiment,
        plan=run.plan,
        idles=run.idles,
        quality=analyse_quality(run.tasks, run.configurations, run.info.baseline, _cost_columns(run, cells), margin),
    )


def _comparisons(cells: list[Cell], workload: str, key: str) -> dict[str, Comparison]:
    return {c.label: found for c in cells if c.workload == workload and (found := c.values[key].comparison)}


def _cost_columns(run: MeasuredRun, cells: list[Cell]) -> dict[str, list[float | None]]:
    """What each configuration costs under each workload, in the order of the configurations; columns without a value left out."""
    found: dict[str, list[float | None]] = {}
    for workload in run.info.workloads:
        own = {c.label: c for c in cells if c.workload == workload}
        for key in (OUTPUT_TOKENS_PER_S, JOULES, MODELLED_JOULES):
            column = [own[c.label].values[key].median for c in run.configurations]
            if any(value is not None for value in column):
                found[f"{workload}: {QUANTITIES[key].title}"] = column
    return found


def _energy_remedies(run: MeasuredRun) -> list[str]:
    """Each remedy once, in the order met; only of trials that have no measured joules."""
    unmeasured = [t.trial.energy for t in run.trials if t.trial.energy.gross_joules is None]
    return list(dict.fromkeys(m.remedy for energy in unmeasured for m in energy.missing if m.remedy))


def _configurations(run: MeasuredRun) -> list[ConfigurationFigures]:
    baseline = next((c for c in run.configurations if c.label == run.info.baseline), None)
    of_baseline = baseline.quality.perplexity if baseline and baseline.quality else None
    figures = []
    for info in run.configurations:
        own = info.quality.perplexity if info.quality else None
        reason = None
        if own is None:
            reason = (info.quality and info.quality.reason) or "quality was not measured"
        elif of_baseline is None:
            reason = "the baseline has no perplexity"
        ratio = own / of_baseline if own and of_baseline else None
        figures.append(ConfigurationFigures(info=info, perplexity_ratio=ratio, perplexity_reason=reason))
    return figures


def _cell(run: MeasuredRun, label: str, workload: str, margin: float) -> Cell:
    own, baseline = run.by_block(label, workload), run.by_block(run.info.baseline, workload)
    trials = [own[block] for block in sorted(own)]
    latencies = {
        "ttft_ms": [t.metrics.ttft_ms for t in trials],
        "tpot_ms": [t.metrics.tpot_ms for t in trials],
        "e2e_ms": [t.metrics.e2e_ms for t in trials],
    }
    overlapped = any(t.metrics.overlapped for t in trials)
    energies = [t.trial.energy for t in trials]
    shares = [
        e.gross_joules_uncertainty / e.gross_joules for e in energies if e.gross_joules and e.gross_joules_uncertainty
    ]
    net_shares = [
        e.net_joules_uncertainty / e.net_joules for e in energies if e.net_joules and e.net_joules_uncertainty
    ]
    return Cell(
        label=label,
        workload=workload,
        trials=len(trials),
        requests=sum(t.metrics.requests for t in trials),
        failed_requests=sum(int((~t.metrics.completed).sum()) for t in trials),
        mean_prompt_tokens=_mean([t.metrics.prompt_tokens[t.metrics.completed] for t in trials]),
        mean_output_tokens=_mean([t.metrics.output_tokens[t.metrics.completed] for t in trials]),
        energy_sources=sorted({e.source for e in energies if e.gross_joules is not None and e.source}),
        modelled_basis=sorted({e.modelled_basis for e in energies if e.modelled_basis}),
        windows=sorted({window_words(t.trial) for t in trials}),
        offered_rate=_offered_rate(trials),
        saturated=sum(t.metrics.saturated for t in trials),
        energy_uncertainty=max(shares, default=None),
        net_uncertainty=max(map(abs, net_shares), default=None),
        values={
            quantity.key: _value(
                quantity, own, None if label == run.info.baseline else baseline, margin, _absence(run, label, workload)
            )
            for quantity in QUANTITIES.values()
        },
        percentiles={key: percentiles_over(arrays, TAILS, overlapped=overlapped) for key, arrays in latencies.items()},
        distributions={key: _distribution(_pooled(arrays)) for key, arrays in latencies.items()},
    )


def _offered_rate(trials: list[MeasuredTrial]) -> float | None:
    rates = [t.metrics.offered_requests / t.metrics.window_s for t in trials if t.trial.workload.open_loop]
    return statistics.median(rates) if rates else None


def _value(
    quantity: Quantity,
    own: dict[int, MeasuredTrial],
    baseline: dict[int, MeasuredTrial] | None,
    margin: float,
    absence: str,
) -> CellValue:
    """`baseline` is None for the baseline's own cell; `absence` says why there is no trial, if there is none.

    A trial whose value lies among its failed requests has the highest value of all, though no number.
    """
    amounts = {block: quantity.of(t.trial, t.metrics) for block, t in own.items()}
    values = _present(amounts)
    reasons = Counter(a.reason for a in amounts.values() if a.reason)
    reason = reasons.most_common(1)[0][0] if reasons else None
    median = statistics.median([*values.values(), *[math.inf] * reasons[AMONG_FAILED]]) if values else math.inf
    comparison = None
    if baseline is not None:
        of_baseline = {block: quantity.of(t.trial, t.metrics) for block, t in baseline.items()}
        left_out = {b: why for trials in (own, baseline) for b, t in trials.items() if (why := unfit(t.trial))}
        kept = {block: value for block, value in values.items() if block not in left_out}
        comparison = compare(kept, _present(of_baseline), quantity.better, margin=margin)
        if left_out and comparison.ratio is None:
            comparison = Comparison(reason=next(iter(left_out.values())))
        if quantity.is_latency:
            both = set(own) & set(baseline) - set(left_out)
            among = any(a[block].reason == AMONG_FAILED for a in (amounts, of_baseline) for block in both)
            failed, of_other = (_failures([side[block] for block in both]) for side in (own, baseline))
            comparison = judge_failures(comparison, failed, of_other, among_failed=among)
    return CellValue(
        median=median if math.isfinite(median) else None,
        trials=len(values),
        mean=geometric_mean(list(values.values())) if len(values) == len(own) else None,
        comparison=comparison,
        reason=reason if own else absence,
    )


def _failures(trials: list[MeasuredTrial]) -> Failures:
    failed = sum(int((~t.metrics.completed).sum()) for t in trials)
    return Failures(failed, sum(t.metrics.requests for t in trials))


def _present(amounts: dict[int, Amount]) -> dict[int, float]:
    return {block: a.value for block, a in amounts.items() if a.value is not None}


def _absence(run: MeasuredRun, label: str, workload: str) -> str:
    errors = [f.error for f in run.failures if (f.label, f.workload) == (label, workload)]
    if errors:
        return f"failed: {errors[0]}"
    damaged = any(trial.is_of(label, workload) for trial in run.damaged)
    return "damaged on disk" if damaged else f"not measured: the run is {run.info.status}"


def _mean(arrays: list[Any]) -> float | None:
    pooled = np.concatenate(arrays) if arrays else np.array([])
    return float(np.nanmean(pooled)) if np.isfinite(pooled).any() else None


def _pooled(arrays: list[FloatArray]) -> FloatArray:
    pooled = np.concatenate(arrays) if arrays else np.array([])
    there: FloatArray = pooled[~np.isnan(pooled)]
    return there


def _distribution(values: FloatArray) -> list[float]:
    """Values at `LEVELS` to six digits: enough for a plot, and a report of many cells stays small.

    Shorter where the highest levels lie among failed requests.
    """
    found = percentiles(values, LEVELS).values()
    return [float(f"{value:.6g}") for value in found if math.isfinite(value)]


def _trial(measured: MeasuredTrial) -> TrialFigures:
    amounts = {q.key: q.of(measured.trial, measured.metrics).value for q in QUANTITIES.values()}
    cell, ttft = measured.cell, measured.metrics.ttft_ms
    return TrialFigures(
        block=cell.block,
        label=cell.label,
        workload=cell.workload,
        order=cell.order,
        started_at=measured.trial.started_at,
        window_s=measured.metrics.window_s,
        unfit=unfit(measured.trial),
        values={key: value for key, value in amounts.items() if value is not None},
        power=measured.power and power_figures(measured.power, measured.trial),
        backlog=measured.metrics.backlog,
        mean_ttft_ms=_mean([ttft[np.isfinite(ttft)]]),
    )
