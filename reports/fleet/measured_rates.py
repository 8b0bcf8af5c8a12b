"""Rates with a measured stationary or growing backlog; they bound a simulated capacity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.analysis.records import Analysis, TrialFigures
from reports.fleet.replicas import Lengths

ALIKE = 1.1  # mean prompt and output tokens of the load within a tenth of the demand's


@dataclass(frozen=True)
class MeasuredRates:
    """Requests per second. `stationary` is the highest rate without a growing backlog in any block, below `growing`, the lowest with one."""

    stationary: float | None = None
    growing: float | None = None


def measured_rates(analysis: Analysis, label: str, demand: Lengths) -> MeasuredRates:
    """The rates of a configuration's open loops with request lengths like the demand's; both None without such loops."""
    by_rate: dict[float, list[bool | None]] = {}
    for trial in analysis.trials:
        rate = analysis.workloads[trial.workload].constant_rate
        if trial.label != label or trial.backlog is None or rate is None:
            continue
        if _alike(analysis, trial, demand):
            by_rate.setdefault(rate, []).append(trial.backlog.stationary)
    return bounds(by_rate)


def bounds(by_rate: Mapping[float, Sequence[bool | None]]) -> MeasuredRates:
    """`by_rate`: for each rate, whether the backlog was stationary in each block; None where that is undecided."""
    growing = min((rate for rate, found in by_rate.items() if False in found), default=None)
    kept = [rate for rate, found in by_rate.items() if all(found) and (growing is None or rate < growing)]
    return MeasuredRates(max(kept, default=None), growing)


def _alike(analysis: Analysis, trial: TrialFigures, demand: Lengths) -> bool:
    cell = analysis.cell(trial.label, trial.workload)
    if not cell.mean_prompt_tokens or not cell.mean_output_tokens:
        return False
    return Lengths(cell.mean_prompt_tokens, cell.mean_output_tokens).furthest(demand) <= ALIKE
