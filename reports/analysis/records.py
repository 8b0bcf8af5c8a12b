"""The figures of a run's report: a cell for every configuration and workload, against the baseline.

This is what `report.json` holds, and the only thing the table, the sentences, the plots and the pages are made from.
"""

from __future__ import annotations

from typing import Any

from base.records import Record
from loadgen.metrics.backlog import Backlog
from loadgen.workloads.base import Workload
from reports.analysis.energy_model import EnergyModel
from reports.analysis.family import FamilyComparison
from reports.analysis.power import PowerFigures
from reports.analysis.quality import QualityFigures
from reports.checks.results import CheckResult
from reports.runs.fleet_plan import FleetPlan
from reports.runs.records import ConfigurationInfo, DamagedTrial, FailedCell, RunInfo, VisitIdle
from reports.statistics.percentiles import Percentile
from reports.statistics.ratios import Comparison, Interval

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

    @property
    def why_missing(self) -> str | None:
        """Why a value or its ratio is missing; None if nothing is, or no reason is known."""
        return self.reason or (self.comparison.reason if self.comparison else None)


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

    @property
    def baseline(self) -> ConfigurationFigures | None:
        """The baseline, if it was started."""
        return next((c for c in self.configurations if c.info.is_baseline), None)

    def has_values(self, workload: str, key: str) -> bool:
        """Whether any configuration has a value of a quantity under a workload."""
        return any(c.values[key].median is not None for c in self.cells if c.workload == workload)

    def why_uncompared(self, workload: str, key: str) -> str | None:
        """The first reason why a configuration has no value or ratio of a quantity; None if there is no such reason."""
        values = (c.values[key] for c in self.cells if c.workload == workload and c.label != self.info.baseline)
        return next((value.why_missing for value in values if value.why_missing), None)

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
