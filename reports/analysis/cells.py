"""Compute the cells of a run: every quantity over the trials of a configuration and workload, compared with the baseline."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from energy.timeline import power_at_clocks
from loadgen.metrics.latencies import FloatArray, percentiles
from loadgen.metrics.request_joules import share_joules
from reports.analysis.energy.power import power_figures
from reports.analysis.groups import GROUP_QUANTITIES, group_figures
from reports.analysis.quantities import QUANTITIES, Amount, Quantity
from reports.analysis.records import LEVELS, TAILS, Cell, CellValue, GroupCell, TrialFigures
from reports.analysis.windows import unfit, window_words
from reports.runs.reading import MeasuredRun, MeasuredTrial
from reports.runs.records.run import RunInfo
from reports.statistics.block_percentiles import percentiles_over
from reports.statistics.failures import AMONG_FAILED, Failures, judge_failures
from reports.statistics.ratios import Comparison, compare, geometric_mean

Compared = Callable[[Mapping[int, float], Mapping[int, float]], Comparison]  # an own side and the baseline's, by block


def cell_figures(run: MeasuredRun, label: str, workload: str, margin: float) -> Cell:
    """One cell of the run, compared with the baseline's under the same workload."""
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
    shared = [share_joules(t.trial.energy, t.metrics) for t in trials]
    empty = [
        each.unattributed_joules / t.trial.energy.gross_joules
        for each, t in zip(shared, trials, strict=True)
        if each.unattributed_joules is not None and t.trial.energy.gross_joules
    ]
    return Cell(
        label=label,
        workload=workload,
        trials=len(trials),
        requests=sum(t.metrics.requests for t in trials),
        failed_requests=sum(t.metrics.failed for t in trials),
        mean_prompt_tokens=_mean([t.metrics.prompt_tokens[t.metrics.completed] for t in trials]),
        mean_output_tokens=_mean([t.metrics.output_tokens[t.metrics.completed] for t in trials]),
        mean_output_characters=_mean([t.metrics.output_characters[t.metrics.completed] for t in trials]),
        energy_sources=sorted({e.source for e in energies if e.gross_joules is not None and e.source}),
        modelled_basis=sorted({e.modelled_basis for e in energies if e.modelled_basis}),
        windows=sorted({window_words(t.trial) for t in trials}),
        offered_rate=_offered_rate(trials),
        saturated=sum(t.metrics.saturated for t in trials),
        draft_acceptance=_draft_acceptance(trials),
        energy_uncertainty=max(shares, default=None),
        net_uncertainty=max(map(abs, net_shares), default=None),
        joules_shared_by=sorted({each.shared_by for each in shared if each.shared_by}),
        unattributed_share=statistics.median(empty) if empty else None,
        values={
            quantity.key: _value(
                quantity,
                own,
                None if label == run.info.baseline else baseline,
                _absence(run, label, workload),
                partial(compare, better=quantity.better, margin=margin, looks=run.info.looks),
            )
            for quantity in QUANTITIES.values()
        },
        percentiles={key: percentiles_over(arrays, TAILS, overlapped=overlapped) for key, arrays in latencies.items()},
        distributions={key: _distribution(_pooled(arrays)) for key, arrays in latencies.items()},
    )


def _draft_acceptance(trials: list[MeasuredTrial]) -> float | None:
    counts = [(t.trial.server_accepted_tokens, t.trial.server_draft_tokens) for t in trials]
    known = [(accepted, drafted) for accepted, drafted in counts if accepted is not None and drafted]
    return sum(accepted for accepted, _ in known) / sum(drafted for _, drafted in known) if known else None


def _offered_rate(trials: list[MeasuredTrial]) -> float | None:
    rates = [t.metrics.offered_rate for t in trials if t.trial.workload.open_loop]
    return statistics.median(rates) if rates else None


def _value(
    quantity: Quantity,
    own: dict[int, MeasuredTrial],
    baseline: dict[int, MeasuredTrial] | None,
    absence: str,
    compared: Compared,
) -> CellValue:
    """One quantity of a cell. `baseline` is None for the baseline's own cell; `absence` is the reason if there is no trial."""
    sides = [
        Side(
            {block: quantity.of(t.trial, t.metrics) for block, t in trials.items()},
            {block: why for block, t in trials.items() if (why := unfit(t.trial))},
            {block: Failures(t.metrics.failed, t.metrics.requests) for block, t in trials.items()},
        )
        for trials in (own, baseline or {})
    ]
    of_baseline = None if baseline is None else sides[1]
    return cell_value(sides[0], of_baseline, absence, compared, is_latency=quantity.is_latency)


@dataclass(frozen=True)
class Side:
    """One quantity of a configuration's trials, by block: its amounts, why no verdict may use a trial, and failed requests."""

    amounts: dict[int, Amount]
    unfit: dict[int, str]
    failures: dict[int, Failures]

    @property
    def values(self) -> dict[int, float]:
        """Those that are there."""
        return {block: a.value for block, a in self.amounts.items() if a.value is not None}

    def failed(self, blocks: Iterable[int]) -> Failures:
        """All failed requests of some blocks."""
        chosen = [self.failures[block] for block in blocks]
        return Failures(sum(f.failed for f in chosen), sum(f.requests for f in chosen))


def cell_value(
    own: Side, baseline: Side | None, absence: str | None, compared: Compared, *, is_latency: bool
) -> CellValue:
    """The median over trials, and the comparison with the baseline block by block; `baseline` is None for itself.

    `absence` is the reason if there is no trial. A trial whose value is among its failed requests ranks highest in the
    median, without a number.
    """
    values = own.values
    reasons = Counter(a.reason for a in own.amounts.values() if a.reason)
    reason = reasons.most_common(1)[0][0] if reasons else None
    median = statistics.median([*values.values(), *[math.inf] * reasons[AMONG_FAILED]]) if values else math.inf
    comparison = None
    if baseline is not None:
        left_out = own.unfit | baseline.unfit
        comparison = compared({b: value for b, value in values.items() if b not in left_out}, baseline.values)
        if left_out and comparison.ratio is None:
            comparison = Comparison(reason=next(iter(left_out.values())))
        if is_latency:
            both = own.amounts.keys() & baseline.amounts.keys() - left_out.keys()
            among = any(side.amounts[block].reason == AMONG_FAILED for side in (own, baseline) for block in both)
            comparison = judge_failures(comparison, own.failed(both), baseline.failed(both), among_failed=among)
    return CellValue(
        median=median if math.isfinite(median) else None,
        trials=len(values),
        mean=geometric_mean(list(values.values())) if len(values) == len(own.amounts) else None,
        comparison=comparison,
        reason=reason if own.amounts else absence,
    )


def group_cells(trials: Sequence[TrialFigures], info: RunInfo, margin: float) -> list[GroupCell]:
    """Every turn of sessions and part of mixes of every configuration, compared with the baseline's same one."""
    found = []
    for workload in info.workloads:
        own = [trial for trial in trials if trial.workload == workload]
        for label, group in itertools.product(info.labels, dict.fromkeys(name for t in own for name in t.groups)):
            having = [trial for trial in own if group in trial.groups]
            if any(trial.label == label for trial in having):
                found.append(_group_cell(having, label, group, info, margin))
    return found


def _group_cell(trials: Sequence[TrialFigures], label: str, group: str, info: RunInfo, margin: float) -> GroupCell:
    """`trials` are those of one workload that have the group."""
    own, baseline = ({t.block: t for t in trials if t.label == side} for side in (label, info.baseline))
    groups = [trial.groups[group] for trial in own.values()]
    values = {}
    for key, quantity in GROUP_QUANTITIES.items():
        compared = partial(compare, better=quantity.better, margin=margin, looks=info.looks)
        other = None if label == info.baseline else _side_of_group(baseline, group, key)
        values[key] = cell_value(_side_of_group(own, group, key), other, None, compared, is_latency=quantity.is_latency)
    return GroupCell(
        label=label,
        workload=trials[0].workload,
        group=group,
        prompt_tokens=_median(one.prompt_tokens for one in groups),
        cached_share=_median(one.cached_share for one in groups),
        values=values,
    )


def _side_of_group(trials: dict[int, TrialFigures], group: str, key: str) -> Side:
    groups = {block: trial.groups[group] for block, trial in trials.items()}
    return Side(
        {block: Amount(one.values.get(key), one.reasons.get(key)) for block, one in groups.items()},
        {block: trial.unfit for block, trial in trials.items() if trial.unfit},
        {block: Failures(one.failed, one.requests) for block, one in groups.items()},
    )


def _median(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


def _absence(run: MeasuredRun, label: str, workload: str) -> str:
    errors = [f.error for f in run.failures if (f.label, f.workload) == (label, workload)]
    if errors:
        return f"failed: {errors[0]}"
    damaged = any(trial.is_of(label, workload) for trial in run.damaged)
    return "damaged on disk" if damaged else f"not measured: the run {run.info.state}"


def _mean(arrays: list[Any]) -> float | None:
    pooled = np.concatenate(arrays) if arrays else np.array([])
    return float(np.nanmean(pooled)) if np.isfinite(pooled).any() else None


def _pooled(arrays: list[FloatArray]) -> FloatArray:
    pooled = np.concatenate(arrays) if arrays else np.array([])
    there: FloatArray = pooled[~np.isnan(pooled)]
    return there


def _distribution(values: FloatArray) -> list[float]:
    """Values at `LEVELS` with six digits, which keeps report.json small.

    Shorter if the highest levels are among failed requests.
    """
    found = percentiles(values, LEVELS).values()
    return [float(f"{value:.6g}") for value in found if math.isfinite(value)]


def trial_figures(measured: MeasuredTrial) -> TrialFigures:
    """One trial's place in the run, and its quantities."""
    cell, trial, metrics, power = measured.cell, measured.trial, measured.metrics, measured.power
    amounts = {q.key: q.of(trial, metrics).value for q in QUANTITIES.values()}
    return TrialFigures(
        block=cell.block,
        label=cell.label,
        workload=cell.workload,
        order=cell.order,
        started_at=trial.started_at,
        window_s=metrics.window_s,
        unfit=unfit(trial),
        values={key: value for key, value in amounts.items() if value is not None},
        power=power and power_figures(power, trial),
        backlog=metrics.backlog,
        mean_ttft_ms=_mean([metrics.ttft_ms[np.isfinite(metrics.ttft_ms)]]),
        groups=group_figures(trial, metrics, share_joules(trial.energy, metrics)),
        steady_state=trial.steady_state,
        warm_up=trial.warmup,
        carbon=trial.carbon,
        clocks=power_at_clocks(power, trial.energy) if power else [],
    )
