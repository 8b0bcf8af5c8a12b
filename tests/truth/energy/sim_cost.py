"""Costs of one configuration: a mean over blocks, and the summed joules of several tasks."""

from __future__ import annotations

import math

import numpy as np

from energy.records import WindowEnergy
from reports.analysis.quality.cost import suite_cost
from reports.runs.records.quality import EvaluationSettings, Score, TaskResult
from reports.statistics.ratios import geometric_mean
from tests.truth.registry import Outcome, covers, inside, simulation

_SETTINGS = EvaluationSettings(backend="endpoint", harness="simulated", chat_template=False, limit=None, seeds={})


@simulation(
    short=300,
    long=10_000,
    covered=covers("cost on the Pareto front, over blocks", "2 to 10 blocks, a factor a block and trial"),
)
def cost_over_blocks(rng: np.random.Generator) -> Outcome:
    """The cost of a typical block: every block and every trial has a random factor."""
    blocks, truth = int(rng.integers(2, 11)), math.exp(rng.normal(0, 1))
    found = geometric_mean([truth * math.exp(rng.normal(0, 0.05) + rng.normal(0, 0.02)) for _ in range(blocks)])
    assert found is not None
    return {"covered": inside(truth, found.low, found.high)}


@simulation(
    short=300,
    long=10_000,
    covered=covers("J/token of a suite of quality tasks", "1 to 12 tasks, independent normal errors of meters"),
)
def cost_of_a_suite(rng: np.random.Generator) -> Outcome:
    """Each task's joules are off by a normal error, of which the meter states the 95 % half-width."""
    truths = rng.uniform(100, 10_000, int(rng.integers(1, 13)))
    errors = truths * rng.uniform(0.002, 0.05, len(truths))
    tokens = rng.integers(1000, 100_000, len(truths))
    results = [
        _result(float(truth + rng.normal(0, error)), float(1.96 * error), int(number))
        for truth, error, number in zip(truths, errors, tokens, strict=True)
    ]
    found = suite_cost(results)
    assert found.joules_per_token is not None
    assert found.joules_per_token_uncertainty is not None
    truth = truths.sum() / tokens.sum()
    return {"covered": bool(abs(found.joules_per_token - truth) <= found.joules_per_token_uncertainty)}


def _result(joules: float, half_width: float, tokens: int) -> TaskResult:
    energy = WindowEnergy(
        start_ns=0, end_ns=10**9, gross_joules=joules, gross_joules_uncertainty=half_width, source="simulated"
    )
    score = Score(metric="acc", filter="none", value=0.5, standard_error=0.1, higher_is_better=True)
    return TaskResult(
        task="t", scores=[score], energy=energy, tokens=tokens, evaluated_at="2026-11-24T00:00:00+00:00", settings=_SETTINGS
    )  # fmt: skip
