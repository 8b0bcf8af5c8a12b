"""Quality tasks show a loss, its absence, or nothing."""

from __future__ import annotations

import pytest

from reports.analysis.quality.tasks import QualityFigures, TaskFigures, TaskScore
from reports.decision.quality_evidence import evidence_of
from reports.statistics.ratios import Comparison

KEEPS = Comparison(ratio=1.0, low=0.97, high=1.03)


def task(name="t", kept=KEEPS, chance=0.25, baseline=0.8, own=0.8, error=0.02, **facts):
    scores = {
        "base": TaskScore(value=baseline, standard_error=error),
        "narrow": TaskScore(value=own, standard_error=error, kept=kept),
    }
    facts = {"higher_is_better": True, "items": 500, "version": None, "shots": None, "metric": "acc"} | facts
    return TaskFigures(task=name, chance=chance, scores=scores, **facts)


def shown(*tasks):
    quality = QualityFigures(
        settings=None, tasks=list(tasks), overall={}, overall_tasks=[], fragile={}, fragile_tasks=[], costs={}, correlations={}
    )  # fmt: skip
    return evidence_of(quality, "narrow", "base")


def test_a_task_whose_whole_interval_is_above_the_limit_is_kept():
    assert shown(task()).kept == ["t"]


def test_a_task_whose_whole_interval_is_below_the_limit_is_lost_even_at_chance():
    found = shown(task(kept=Comparison(ratio=0.35, low=0.3, high=0.4), own=0.26))
    assert list(found.lost) == ["t"]
    assert found.words() == ["keeps 0.35× (0.30–0.40) of its score on t"]  # noqa: RUF001


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"kept": Comparison(ratio=1.0, low=0.4, high=1.6)}, "0.40"),
        ({"baseline": 0.27, "own": 0.3}, "the baseline is not distinguishable from guessing, 25 %"),
        ({"baseline": 0.3, "own": 0.28}, "it is not distinguishable from guessing, 25 %"),
        ({"chance": None}, "the score of guessing is not recorded"),
        ({"kept": Comparison(ratio=1.0, reason="its spread is not known")}, "its spread is not known"),
        ({"error": None}, "the baseline is not distinguishable from guessing, 25 %"),
    ],
)
def test_a_task_at_chance_or_with_a_wide_interval_is_inconclusive(changed, why):
    found = shown(task(**changed))
    assert (found.lost, found.kept) == ({}, [])
    assert found.inconclusive["t"].startswith(why)
    assert not found.decides


def test_a_perplexity_has_no_chance_level():
    found = shown(task(chance=None, baseline=8.0, own=8.1, higher_is_better=False))
    assert found.kept == ["t"]


@pytest.mark.parametrize(("items", "lost"), [(500, True), (2, False)])
def test_no_right_answer_of_many_is_a_loss_and_of_few_is_not(items, lost):
    nothing = Comparison(ratio=0.0, reason="its spread is not known")
    assert bool(shown(task(kept=nothing, own=0.0, items=items)).lost) == lost


def test_many_inconclusive_tasks_are_counted_and_not_all_named():
    wide = Comparison(ratio=1.0, low=0.4, high=1.6)
    [said] = shown(*(task(f"task-{n}", kept=wide) for n in range(6))).words()
    assert said.startswith("6 of 6 quality tasks show neither a loss nor its absence: task-0 (")
    assert said.endswith("and 3 more")
