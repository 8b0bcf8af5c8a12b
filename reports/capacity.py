"""From a run's trials to replicas that can be simulated: one of every configuration and block.

Levels are the loads whose number in flight is known: single requests, static batches, closed loops. A level's step is its median
TPOT, its power the gross joules per output token x output tokens/s of the same trial. Prefill is taken as proportional to the
prompt: the median TTFT of the lowest level, less one step, over its prompt tokens.
"""

from __future__ import annotations

from loadgen.records import Workload
from reports.analysis import Analysis, TrialFigures
from reports.errors import ReportError
from reports.quantities import JOULES, OUTPUT_TOKENS_PER_S, TPOT, TTFT
from reports.queueing import Replica


def replicas(analysis: Analysis, label: str) -> dict[int, Replica]:
    """A configuration's replica as each block measured it; blocks that lack the lowest level are left out."""
    levels = {name: found for name, workload in analysis.workloads.items() if (found := level(workload)) is not None}
    if not levels:
        raise ReportError(
            f"{analysis.folder}: no workload of kind single, batch or concurrency was measured; capacity needs at least one"
        )
    lowest = min(levels.values())
    idle = next((c.info.idle for c in analysis.configurations if c.info.label == label), None)
    idle_watts = idle.mean_watts if idle is not None else None
    by_block: dict[int, dict[int, TrialFigures]] = {}
    for trial in analysis.trials:
        if trial.label == label and trial.workload in levels and {TPOT, TTFT} <= trial.values.keys():
            by_block.setdefault(trial.block, {})[levels[trial.workload]] = trial
    return {
        block: _replica(dict(sorted(trials.items())), _prompt_tokens(analysis, label, trials[lowest]), idle_watts)
        for block, trials in sorted(by_block.items())
        if lowest in trials
    }


def level(workload: Workload) -> int | None:
    """How many requests are in flight; None where that is not the workload's to say, or its lengths are the model's."""
    if workload.natural_stop:
        return None
    return {"single": 1, "batch": workload.batch_size, "concurrency": workload.concurrency}.get(workload.kind)


def _prompt_tokens(analysis: Analysis, label: str, trial: TrialFigures) -> float:
    return analysis.cell(label, trial.workload).mean_prompt_tokens or 1.0


def _replica(trials: dict[int, TrialFigures], prompt_tokens: float, idle_watts: float | None) -> Replica:
    measured = [trial.values for trial in trials.values()]
    first = measured[0]
    watts = [v[JOULES] * v[OUTPUT_TOKENS_PER_S] for v in measured if {JOULES, OUTPUT_TOKENS_PER_S} <= v.keys()]
    return Replica(
        levels=tuple(trials),
        steps_s=tuple(v[TPOT] / 1e3 for v in measured),
        prefill_s_per_token=max(first[TTFT] - first[TPOT], 0.0) / 1e3 / prompt_tokens,
        watts=tuple(watts) if len(watts) == len(measured) else None,
        idle_watts=idle_watts,
    )
