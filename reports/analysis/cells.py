"""Compute the cells of a run: every quantity over the trials of a configuration and workload, compared with the baseline."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from energy.timeline import power_at_clocks
from loadgen.metrics.groups import conversation_figures, part_figures
from loadgen.metrics.latencies import FloatArray, percentiles
from loadgen.metrics.request_joules import share_joules
from reports.analysis.energy.power import power_figures
from reports.analysis.quantities import QUANTITIES, Amount, Quantity
from reports.analysis.records import LEVELS, TAILS, Cell, CellValue, GroupFigures, TrialFigures
from reports.analysis.windows import unfit, window_words
from reports.runs.reading import MeasuredRun, MeasuredTrial
from reports.statistics.block_percentiles import percentiles_over
from reports.statistics.failures import AMONG_FAILED, Failures, judge_failures
from reports.statistics.ratios import Comparison, compare, geometric_mean


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
    compared: Callable[[Mapping[int, float], Mapping[int, float]], Comparison],
) -> CellValue:
    """One quantity of a cell. `baseline` is None for the baseline's own cell; `absence` is the reason if there is no trial.

    A trial whose value is among its failed requests ranks highest in the median, without a number.
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
        comparison = compared(kept, _present(of_baseline))
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
    failed = sum(t.metrics.failed for t in trials)
    return Failures(failed, sum(t.metrics.requests for t in trials))


def _present(amounts: dict[int, Amount]) -> dict[int, float]:
    return {block: a.value for block, a in amounts.items() if a.value is not None}


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
    amounts = {q.key: q.of(measured.trial, measured.metrics).value for q in QUANTITIES.values()}
    cell, ttft = measured.cell, measured.metrics.ttft_ms
    shared = share_joules(measured.trial.energy, measured.metrics)
    parts = part_figures(measured.trial.workload, measured.metrics, shared)
    turns = conversation_figures(measured.metrics, None, shared).get("turns", [])
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
        turns={turn["turn"]: _group_figures(turn) for turn in turns},
        parts={part["part"]: _group_figures(part) for part in parts},
        steady_state=measured.trial.steady_state,
        warm_up=measured.trial.warmup,
        carbon=measured.trial.carbon,
        clocks=power_at_clocks(measured.power, measured.trial.energy) if measured.power else [],
    )


def _group_figures(group: Mapping[str, Any]) -> GroupFigures:
    return GroupFigures(
        prompt_tokens=group["mean_prompt_tokens"],
        cached_share=group["cached_share"],
        ttft_ms=group["mean_ttft_ms"],
        tpot_ms=group["mean_tpot_ms"],
        joules=group["mean_request_joules"],
        e2e_ms=group.get("mean_e2el_ms"),
        good_share=group.get("good_share"),
    )
