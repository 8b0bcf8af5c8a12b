"""Derive replicas for the simulation from a run's trials: one for each configuration and block.

Levels are the loads with a known number of requests in flight: single requests, static batches, closed loops. Their latencies do not
separate decoding from the prefill of other requests, so the work of a request is derived from its level's throughput: a loop that is
always full completes as many requests per second as the server can with that number in flight. The lowest level gives the prefill;
the steps are the rest. If the demand's lengths differ from the measured ones, each part is scaled by its tokens, and the share of
prefill is set to the end of its error that makes the demand more expensive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.workloads.base import Workload
from reports.analysis.quantities import JOULES, OUTPUT_TOKENS_PER_S, TPOT
from reports.analysis.records import Analysis, TrialFigures
from reports.errors import ReportError
from reports.fleet.queueing import Replica

PREFILL_ERROR = (
    0.05  # relative error of prefill seconds a token: chunked prompts and shared steps (tests/truth/fleet/sim_fleet.py)
)
_SHORTEST_STEP_S = 1e-7


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of a request."""

    prompt: float
    output: float

    def distance(self, other: Lengths) -> float:
        """The sum of the absolute logarithms of the ratios of prompt and output tokens."""
        return abs(math.log(self.prompt / other.prompt)) + abs(math.log(self.output / other.output))

    def furthest(self, other: Lengths) -> float:
        """The larger of the two factors in prompt and output tokens, 1 or more."""
        ratios = (self.prompt / other.prompt, self.output / other.output)
        return max(max(ratio, 1 / ratio) for ratio in ratios)


@dataclass(frozen=True)
class Level:
    """The results of one trial with a known number of requests in flight. `watts` is None where energy was not measured."""

    in_flight: int
    lengths: Lengths
    requests_per_s: float
    ttft_s: float  # mean
    tpot_s: float
    watts: float | None = None


def replicas(analysis: Analysis, label: str, demand: Lengths) -> dict[int, Replica]:
    """A configuration's replica from each block; blocks without the lowest level are left out.

    If a level was measured with several lengths, those nearest the demand's count; a closed loop is preferred to a batch,
    which is not always full.
    """
    levels = {name: found for name, workload in analysis.workloads.items() if (found := level(workload)) is not None}
    if not levels:
        raise ReportError(
            f"{analysis.folder}: no workload of kind single, batch or concurrency was measured; capacity needs at least one"
        )
    idle = next((c.info.idle for c in analysis.configurations if c.info.label == label), None)
    by_block: dict[int, dict[int, list[Level]]] = {}
    for trial in sorted(analysis.trials, key=lambda t: analysis.workloads[t.workload].group_size is not None):
        if trial.label == label and trial.workload in levels:
            one = _measured(analysis, trial, levels[trial.workload])
            if one is not None:
                by_block.setdefault(trial.block, {}).setdefault(one.in_flight, []).append(one)
    lowest = min(levels.values())
    return {
        block: replica_of(
            [min(same, key=lambda each: each.lengths.distance(demand)) for _, same in sorted(found.items())],
            demand,
            idle.mean_watts if idle is not None else None,
        )
        for block, found in sorted(by_block.items())
        if lowest in found
    }


def nearest_lengths(analysis: Analysis, demand: Lengths) -> Lengths | None:
    """The lengths of the levels that are nearest the demand's; None if no cell has any."""
    cells = [c for c in analysis.cells if c.workload in analysis.workloads and level(analysis.workloads[c.workload])]
    found = [Lengths(c.mean_prompt_tokens or 1.0, c.mean_output_tokens) for c in cells if c.mean_output_tokens]
    return min(found, key=lambda one: one.distance(demand), default=None)


def level(workload: Workload) -> int | None:
    """The number of requests in flight; None where the workload does not fix it, or the model chooses the lengths.

    A batch of unequal output lengths is no level either: requests that end early leave it partly empty.
    """
    if workload.natural_stop or (workload.group_size is not None and not isinstance(workload.output_tokens, int)):
        return None
    return workload.constant_in_flight


def _measured(analysis: Analysis, trial: TrialFigures, in_flight: int) -> Level | None:
    cell = analysis.cell(trial.label, trial.workload)
    tokens_per_s, tpot = trial.values.get(OUTPUT_TOKENS_PER_S), trial.values.get(TPOT)
    if (
        trial.unfit is not None
        or tokens_per_s is None
        or tpot is None
        or trial.mean_ttft_ms is None
        or not cell.mean_output_tokens
    ):
        return None
    return Level(
        in_flight=in_flight,
        lengths=Lengths(cell.mean_prompt_tokens or 1.0, cell.mean_output_tokens),
        requests_per_s=tokens_per_s / cell.mean_output_tokens,
        ttft_s=trial.mean_ttft_ms / 1e3,
        tpot_s=tpot / 1e3,
        watts=trial.values[JOULES] * tokens_per_s if JOULES in trial.values else None,
    )


def replica_of(levels: Sequence[Level], demand: Lengths, idle_watts: float | None = None) -> Replica:
    """The replica whose throughput at each level is the measured one; `levels` are in rising order."""
    prefill_s = _prefill_s_per_token(levels, demand)
    watts = [level.watts for level in levels if level.watts is not None]
    return Replica(
        levels=tuple(level.in_flight for level in levels),
        steps_s=tuple(_step_s(level, prefill_s) for level in levels),
        prefill_s_per_token=prefill_s,
        watts=tuple(watts) if len(watts) == len(levels) else None,
        idle_watts=idle_watts,
    )


def _prefill_s_per_token(levels: Sequence[Level], demand: Lengths) -> float:
    """The lowest level's mean TTFT less the step of the first token; at most all the work of the highest level.

    With several requests in flight the TTFT includes the prefill of others, so it is an upper bound only.
    """
    lowest, highest = levels[0], levels[-1]
    found = max(lowest.ttft_s - lowest.tpot_s, 0.0) / lowest.lengths.prompt
    # The demand's share of prompts over the measured one: the larger the difference, the larger the effect of an error in prefill.
    heavier = math.log(demand.prompt / highest.lengths.prompt) - math.log(demand.output / highest.lengths.output)
    error = PREFILL_ERROR if heavier > 0 or lowest.in_flight == 1 else 1.0
    found *= 1 + math.copysign(min(error, abs(heavier)), heavier)
    return min(found, 1 / (highest.requests_per_s * highest.lengths.prompt))


def _step_s(level: Level, prefill_s: float) -> float:
    """The level's work without prefill, over the steps of a request; all requests in flight share a step."""
    work_s = 1 / level.requests_per_s - prefill_s * level.lengths.prompt
    return max(work_s * level.in_flight / level.lengths.output, _SHORTEST_STEP_S)
