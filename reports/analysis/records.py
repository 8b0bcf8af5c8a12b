"""The figures of a run's report: a cell for every configuration and workload, compared with the baseline.

`report.json` holds them, and all tables, sentences and plots are made from them alone.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from base.records import Record
from energy.carbon import Carbon
from energy.timeline import ClockPower
from loadgen.metrics.backlog import Backlog
from loadgen.records.schema import SteadyState, WarmUp
from loadgen.workloads.base import Workload
from reports.analysis.energy.model import EnergyModel
from reports.analysis.energy.power import PowerFigures
from reports.analysis.family import FamilyComparison
from reports.analysis.grid import GridFigures
from reports.analysis.quality.tasks import QualityFigures
from reports.analysis.quantities import OF_TEXT
from reports.analysis.wall_time import WallTime
from reports.checks.results import CheckResult
from reports.runs.fleet_plan import FleetPlan
from reports.runs.records.cells import DamagedTrial, FailedCell, VisitIdle
from reports.runs.records.configuration import ConfigurationInfo
from reports.runs.records.run import RunInfo
from reports.statistics.percentiles import Percentile
from reports.statistics.ratios import Comparison, Interval

# LEVELS: the percentiles through which a distribution is drawn, finer in the tails.
TAILS = (50, 90, 95, 99)
LEVELS = (0.0, 0.1, 0.5, *range(1, 100), 99.5, 99.9, 100.0)


class CellValue(Record):
    """One quantity of one cell: the median over its trials, their geometric mean with its interval, and the comparison with the baseline.

    `comparison` is None for the baseline itself. `reason` says why there is no median, or why some trials have no value.
    """

    median: float | None
    trials: int
    mean: Interval | None  # None unless every trial has a positive value
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
    mean_output_characters: float | None = None  # None: not recorded
    energy_sources: list[str]  # of measured joules
    modelled_basis: list[str]
    windows: list[str]  # the rules that cut them
    offered_rate: float | None  # requests sent per second of the window; open loops; median over trials
    saturated: int  # trials with a growing backlog
    draft_acceptance: float | None = None  # share of a draft's tokens, over all trials; None: no draft, or not counted
    energy_uncertainty: float | None  # 95 % half-width over the joules, largest of the trials
    net_uncertainty: float | None = None  # of net joules: from gross joules and the subtracted idle power
    joules_shared_by: list[str] = []  # how active joules are shared over requests: "tokens", "time in flight"
    unattributed_share: float | None = None  # of the gross joules, while nothing was in flight; median over trials
    values: dict[str, CellValue]
    # Of ttft_ms, tpot_ms and e2e_ms: TAILS with intervals, and values at LEVELS over the requests of all trials, without
    # the highest levels if these are among failed requests.
    percentiles: dict[str, list[Percentile]]
    distributions: dict[str, list[float]]


class GroupFigures(Record):
    """One turn of a trial's sessions, or one part of its mix: `GROUP_QUANTITIES` without missing ones, and why those are."""

    requests: int
    failed: int
    prompt_tokens: float | None
    cached_share: float | None  # of the prompt tokens; None: the server does not say
    values: dict[str, float]
    reasons: dict[str, str] = {}


class GroupCell(Record):
    """One turn or part of a configuration's trials under a workload, compared with the baseline's same one."""

    label: str
    workload: str
    group: str
    prompt_tokens: float | None  # a request's mean; median over trials
    cached_share: float | None
    values: dict[str, CellValue]  # by the keys of `GROUP_QUANTITIES`


class TrialFigures(Record):
    """One trial: its position in the run, and its quantities without missing ones."""

    block: int
    label: str
    workload: str
    order: int
    started_at: str
    window_s: float
    unfit: str | None  # why no verdict may use it
    values: dict[str, float]
    power: PowerFigures | None  # None: not recorded, or no meter
    backlog: Backlog | None = None  # of an open loop; None: another load, or an earlier window rule
    mean_ttft_ms: float | None = None  # of completed requests; for different prompts only means add up
    groups: dict[str, GroupFigures] = {}  # turns of sessions, from "1", or parts of a mix; empty for another load
    steady_state: SteadyState | None = None  # by ML.ENERGY's rule; None: recorded before it was
    warm_up: WarmUp | None = None
    carbon: Carbon | None = None  # None: no intensity was stated
    clocks: list[ClockPower] = []  # power at each clock of the GPUs; empty: no clock or no power was recorded


class Precision(Record):
    """One configuration's ratio to the baseline, with an interval that holds at every look, together with all others of the run."""

    workload: str
    quantity: str  # its key
    label: str
    blocks: int  # that both have
    comparison: Comparison

    @property
    def half_width(self) -> float | None:
        """As a share: 0.02 where the interval reaches from the ratio / 1.02 to the ratio x 1.02. None without an interval."""
        found = self.comparison
        return None if not found.low or not found.high else math.sqrt(found.high / found.low) - 1


class ConfigurationFigures(Record):
    """The figures of a configuration that do not depend on the load."""

    info: ConfigurationInfo
    perplexity_ratio: float | None = None  # where its tokenizer is another: of the same text, per token of the baseline
    perplexity_reason: str | None = None  # why there is no perplexity, or no ratio
    # Ratios to the baseline's over windows of text, without a verdict; None: windows were not recorded, or are other texts.
    perplexity: Comparison | None = None
    bits_per_byte: Comparison | None = None
    # Next tokens over held-out text against the baseline's, over windows; None with `next_tokens_reason`, or not asked for.
    kl_nats: Interval | None = None
    top1_agreement: Interval | None = None
    next_tokens_reason: str | None = None


class Analysis(Record):
    """All figures of one run's report."""

    folder: str  # the run folder's name
    info: RunInfo
    margin: float  # of every verdict
    configurations: list[ConfigurationFigures]
    workloads: dict[str, Workload]  # with at least one trial
    cells: list[Cell]
    groups: list[GroupCell] = []  # of sessions, by turn, and of mixes, by part
    trials: list[TrialFigures]
    per_character: bool = False  # tokenizers differ, so that verdicts and advice are per character and not per token
    family: list[FamilyComparison]  # the comparisons behind the advice, with simultaneous intervals
    precision: list[Precision] = []  # of the ratios that decide the number of blocks
    grid: list[GridFigures] = []  # of configurations with levels of factors
    checks: list[CheckResult]
    failures: list[FailedCell]
    damaged: list[DamagedTrial] = []  # left out
    energy_models: list[EnergyModel]  # of configurations and loads with measured joules
    energy_remedies: list[str]  # how to make missing meters work on this machine; empty if all joules are measured
    environment: dict[str, Any]
    experiment: str
    quality: QualityFigures | None = None  # None: no quality task was run
    idles: list[VisitIdle] = []  # idle power around each visit, if measured there
    plan: FleetPlan | None = None  # None: `prunebench plan` was not run
    wall_time: WallTime
    stopped_after: datetime | None = None  # of a run that stopped without ending: it was under way then
    simulated: bool = False  # any configuration was served by the synthetic engine, whose times and joules are settings

    @property
    def baseline(self) -> ConfigurationFigures | None:
        """The baseline, if it was started."""
        return next((c for c in self.configurations if c.info.is_baseline), None)

    @property
    def noun(self) -> str:
        """What its configurations are called: widths, if they differ by pruning alone."""
        return "width" if all(c.info.pruned_alone for c in self.configurations) else "configuration"

    @property
    def cut(self) -> str:
        """What the others do to the baseline: cuts, if they differ by pruning alone."""
        return "cut" if self.noun == "width" else "change"

    def quantity(self, key: str) -> str:
        """A quantity per token, or what stands for it where tokenizers differ."""
        return OF_TEXT.get(key, key) if self.per_character else key

    def has_values(self, workload: str, key: str) -> bool:
        """Whether any configuration has a value of a quantity under a workload."""
        return any(c.values[key].median is not None for c in self.cells if c.workload == workload)

    def why_uncompared(self, workload: str, key: str) -> str | None:
        """The first reason why a configuration has no value or ratio of a quantity; None if there is no such reason."""
        values = (c.values[key] for c in self.cells if c.workload == workload and c.label != self.info.baseline)
        return next((value.why_missing for value in values if value.why_missing), None)

    def cell(self, label: str, workload: str) -> Cell:
        """The cell of a started configuration. Raises KeyError for any other."""
        for cell in self.cells:
            if (cell.label, cell.workload) == (label, workload):
                return cell
        raise KeyError((label, workload))

    def by_block(self, label: str, workload: str, key: str) -> dict[int, float]:
        """One quantity of one cell, by block, without trials that no verdict may use."""
        trials = (t for t in self.trials if (t.label, t.workload) == (label, workload))
        return {t.block: t.values[key] for t in trials if key in t.values and t.unfit is None}
