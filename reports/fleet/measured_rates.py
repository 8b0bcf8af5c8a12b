"""The rates that a configuration was measured to keep up with, or not: they bound what a simulation may promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.analysis.records import Analysis, TrialFigures
from reports.fleet.replicas import Lengths

ALIKE = 1.1  # mean prompt and output tokens of the load within a tenth of the demand's


@dataclass(frozen=True)
class MeasuredRates:
    """Requests per second. `stationary` is the highest at which no backlog grew in any block, below the lowest at which one did."""

    stationary: float | None = None
    growing: float | None = None


def measured_rates(analysis: Analysis, label: str, demand: Lengths) -> MeasuredRates:
    """What the open loops of a configuration showed whose requests are like the demand's; both None without any."""
    by_rate: dict[float, list[bool | None]] = {}
    for trial in analysis.trials:
        rate = analysis.workloads[trial.workload].constant_rate
        if trial.label != label or trial.backlog is None or rate is None:
            continue
        if _alike(analysis, trial, demand):
            by_rate.setdefault(rate, []).append(trial.backlog.stationary)
    return bounds(by_rate)


def bounds(by_rate: Mapping[float, Sequence[bool | None]]) -> MeasuredRates:
    """Of each rate, whether the backlog was stationary in each block; None where a block could not say."""
    growing = min((rate for rate, found in by_rate.items() if False in found), default=None)
    kept = [rate for rate, found in by_rate.items() if all(found) and (growing is None or rate < growing)]
    return MeasuredRates(max(kept, default=None), growing)


def _alike(analysis: Analysis, trial: TrialFigures, demand: Lengths) -> bool:
    cell = analysis.cell(trial.label, trial.workload)
    if not cell.mean_prompt_tokens or not cell.mean_output_tokens:
        return False
    return Lengths(cell.mean_prompt_tokens, cell.mean_output_tokens).furthest(demand) <= ALIKE
