"""Compare two runs cell by cell: the same width under the same workload, on another machine, engine or day.

    comparison = compare_runs(analyse_folder(before), analyse_folder(after), margin=0.02, fail_over=0.05)
    comparison.regressed

Each ratio is the second run's over the first's. A regression is a quantity whose whole 95 % interval is worse by more than
`fail_over`. A cell that the first run measured and that failed in the second is a regression, too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby

import numpy as np

from base.records import Record
from reports.analysis.quantities import JOULES, MODELLED_JOULES, OUTPUT_TOKENS_PER_S, QUANTITIES, TPOT, TTFT
from reports.analysis.records import Analysis, Cell, ConfigurationFigures, TrialFigures
from reports.compare.differences import Difference, find_differences, workload_differences
from reports.document.wording import name
from reports.errors import ReportError
from reports.statistics.failures import AMONG_FAILED, Failures, judge_failures
from reports.statistics.ratios import Comparison, verdict_of
from reports.statistics.unpaired import compare_unpaired

DEFAULT_QUANTITIES = (OUTPUT_TOKENS_PER_S, TTFT, TPOT, JOULES, MODELLED_JOULES)


class ComparedQuantity(Record):
    """One quantity of one cell. `before` and `after` are geometric means over the trials, so their quotient is the ratio."""

    key: str
    title: str
    unit: str
    before: float | None
    after: float | None
    trials_before: int
    trials_after: int
    comparison: Comparison
    regression: bool


class ComparedCell(Record):
    """One width under one workload; `reason`: why there is nothing to compare."""

    width: int | None
    workload: str
    label_before: str
    label_after: str
    quantities: list[ComparedQuantity]
    lost: bool = False  # measured in the first run, failed in the second
    reason: str | None = None

    @property
    def name(self) -> str:
        """The configuration in a sentence: "width 7373", or the first run's label if that says more."""
        return f"width {self.width}" if self.label_before == f"width-{self.width}" else self.label_before


class RunComparison(Record):
    """The result of `prunebench compare`, and its JSON."""

    schema_version: int = 1
    before: str
    after: str
    confidence: float = 0.95
    margin: float
    fail_over: float | None
    cells: list[ComparedCell]
    only_before: list[str]  # configurations and workloads that the other run does not have
    only_after: list[str]
    differences: list[Difference]
    failed_checks: list[str]
    failures: list[str]
    damaged: list[str] = []  # damaged trials, which are left out
    simulated: list[str] = []  # the runs that the synthetic engine served: their figures decide nothing

    @property
    def regressed(self) -> bool:
        """Whether a quantity is worse by more than `fail_over`, or a cell was lost."""
        return any(c.lost or any(q.regression for q in c.quantities) for c in self.cells)

    @property
    def decidable(self) -> int:
        """The number of quantities with an interval; without one there is no regression."""
        return sum(q.comparison.low is not None for c in self.cells for q in c.quantities)


def compare_runs(
    before: Analysis,
    after: Analysis,
    *,
    margin: float,
    fail_over: float | None = None,
    keys: Sequence[str] = DEFAULT_QUANTITIES,
) -> RunComparison:
    """Compare the cells that both runs have. Raises ReportError if they have no width and workload in common."""
    pairs = _pair(before.configurations, after.configurations)
    workloads = [w for w in before.info.workloads if w in after.info.workloads]
    if not (pairs and workloads):
        raise ReportError(f"{before.folder} and {after.folder} have no width and workload in common to compare")
    comparer = _Comparer(before, after, keys, margin, fail_over)
    return RunComparison(
        before=before.folder,
        after=after.folder,
        margin=margin,
        fail_over=fail_over,
        cells=[comparer.cell(own, other, workload) for workload in workloads for own, other in pairs],
        only_before=_alone(before, after, {own.info.label for own, _ in pairs}),
        only_after=_alone(after, before, {other.info.label for _, other in pairs}),
        differences=find_differences(before, after, [(a.info, b.info) for a, b in pairs]),
        failed_checks=[
            f"{analysis.folder}: {check.check}: {seen.reason}"
            for analysis in (before, after)
            for check in analysis.checks
            for seen in check.observations
            if seen.outcome == "fail"
        ],
        failures=[
            f"{analysis.folder}: block {f.block + 1}, {f.label}, {f.workload}: {f.error}"
            for analysis in (before, after)
            for f in analysis.failures
        ],
        damaged=[one.reason for analysis in (before, after) for one in analysis.damaged],
        simulated=[analysis.folder for analysis in (before, after) if analysis.simulated],
    )


class _Comparer:
    """Compares cells of two runs, quantity by quantity."""

    def __init__(
        self, before: Analysis, after: Analysis, keys: Sequence[str], margin: float, fail_over: float | None
    ) -> None:
        self._before, self._after = before, after
        self._keys, self._margin, self._fail_over = keys, margin, fail_over

    def cell(self, own: ConfigurationFigures, other: ConfigurationFigures, workload: str) -> ComparedCell:
        before, after = self._before.cell(own.info.label, workload), self._after.cell(other.info.label, workload)
        reason, lost = self._obstacle(before, after)
        compared = [] if reason else [self._quantity(before, after, key) for key in self._keys]
        return ComparedCell(
            width=own.info.width,
            workload=workload,
            label_before=own.info.label,
            label_after=other.info.label,
            quantities=[q for q in compared if q.before is not None or q.after is not None],
            lost=lost,
            reason=reason,
        )

    def _obstacle(self, before: Cell, after: Cell) -> tuple[str | None, bool]:
        """Why the cells cannot be compared, and whether the second run lost one; (None, False) if they can."""
        if not after.trials:
            why = next(iter(after.values.values())).reason or "not measured"
            return f"{self._after.folder}: {why}", bool(before.trials) and why.startswith("failed")
        if not before.trials:
            return f"{self._before.folder}: {next(iter(before.values.values())).reason}", False
        differing = workload_differences(self._before.workloads[before.workload], self._after.workloads[after.workload])
        return (f"the workloads differ: {differing}", False) if differing else (None, False)

    def _quantity(self, before: Cell, after: Cell, key: str) -> ComparedQuantity:
        quantity = QUANTITIES[key]
        old, new = _values(self._before, before, key), _values(self._after, after, key)
        found = measured = compare_unpaired(new, old, quantity.better, margin=self._margin)
        if quantity.is_latency:
            among = AMONG_FAILED in {before.values[key].reason, after.values[key].reason}
            failed, of_before = (Failures(cell.failed_requests, cell.requests) for cell in (after, before))
            found = judge_failures(found, failed, of_before, among_failed=among)
        if unlike := _unlike_meters(before, after, key):
            found = Comparison(reason=unlike)
        elif not (old and new):
            lacking, where = (before, self._before) if not old else (after, self._after)
            unfit = next((t.unfit for t in _trials(where, lacking) if t.unfit), None)
            found = Comparison(reason=f"{where.folder}: {lacking.values[key].reason or unfit or 'no value'}")
        return ComparedQuantity(
            key=key,
            title=quantity.title,
            unit=quantity.unit,
            before=_geometric_mean(old),
            after=_geometric_mean(new),
            trials_before=len(old),
            trials_after=len(new),
            comparison=found,
            regression=self._regressed(measured if quantity.is_latency else found, key),
        )

    def _regressed(self, found: Comparison, key: str) -> bool:
        if self._fail_over is None or found.low is None or found.high is None:
            return False
        return verdict_of(found.low, found.high, QUANTITIES[key].better, margin=self._fail_over) == "worse"


def _pair(
    before: Sequence[ConfigurationFigures], after: Sequence[ConfigurationFigures]
) -> list[tuple[ConfigurationFigures, ConfigurationFigures]]:
    """Pair configurations by width and removed layers; by label too if a run has both more than once, or more differs than pruning."""

    def shape(one: ConfigurationFigures) -> tuple[int, int, str]:
        own = one.info
        return -(own.width or 0), own.removed_layers, "" if own.pruned_alone and own.width else own.label

    pairs = []
    for wanted, group in groupby(sorted(before, key=shape), key=shape):
        own, others = list(group), [c for c in after if shape(c) == wanted]
        if len(own) == len(others) == 1:
            pairs.append((own[0], others[0]))
        else:
            pairs += [(a, b) for a in own for b in others if a.info.label == b.info.label]
    return pairs


def _alone(one: Analysis, other: Analysis, paired: Collection[str]) -> list[str]:
    """Configurations and workloads that the other run does not have."""
    missing = [name(c.info) for c in one.configurations if c.info.label not in paired]
    return missing + [f"workload {w}" for w in one.info.workloads if w not in other.info.workloads]


def _trials(analysis: Analysis, cell: Cell) -> list[TrialFigures]:
    return [t for t in analysis.trials if (t.label, t.workload) == (cell.label, cell.workload)]


def _values(analysis: Analysis, cell: Cell, key: str) -> list[float]:
    return [t.values[key] for t in _trials(analysis, cell) if key in t.values and t.unfit is None]


def _geometric_mean(values: list[float]) -> float | None:
    return float(np.exp(np.mean(np.log(values)))) if values and min(values) > 0 else None


def _unlike_meters(before: Cell, after: Cell, key: str) -> str | None:
    """Why joules of different meters are not compared: meters differ in coverage by more than a regression; None if they may be."""
    if "joules" not in key:
        return None
    modelled = key.startswith("modelled")
    old, new = (c.modelled_basis if modelled else c.energy_sources for c in (before, after))
    if not old or not new or old == new:
        return None
    return f"{'modelled as' if modelled else 'measured by'} {' and '.join(old)} before, {' and '.join(new)} after"
